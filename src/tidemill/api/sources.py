"""`/api/v1/sources`: where events come from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field

from tidemill.api.parts import GivenParts, Parts, Pauses
from tidemill.clock import rfc3339
from tidemill.errors import NotFound, StateConflict
from tidemill.events.event import LoggedEvent
from tidemill.events.lifecycle import Type
from tidemill.storage.contract import EventFilter

__all__ = ["router"]

router = APIRouter(prefix="/api/v1", tags=["sources"])

_MAX_GAPS = 100

SourceName = Annotated[str, Path(max_length=100, description="Name of the source.")]


class SourceBody(BaseModel):
    """How a source is doing."""

    name: str
    kind: str
    state: str = Field(description="starting, live, degraded, stalled, paused or stopped.")
    accepted: int = Field(description="Events appended since the start.")
    duplicates: int
    refused: int
    last_event_at: str | None = Field(description="RFC 3339.")
    last_event_age_seconds: float | None = Field(description="Seconds since then.")
    lag: int | None = Field(description="Records or files known to wait outside; null when unknown.")
    error: str
    mode: str = Field("", description="How it receives: events or polling, for watched folders.")
    paused_at: str | None = Field(None, description="RFC 3339; null while it is not paused.")


class SourceList(BaseModel):
    """Every source."""

    items: list[SourceBody]


class ReconciledPartition(BaseModel):
    """One partition of a source against the brokers."""

    topic: str
    partition: int
    state: str = Field(
        description="in_step, behind (records wait), unread (no cursor yet); with a loss: expired (retention was "
        "faster), ahead (the brokers have lost what we have), recreated (the topic was made again), missing (it is "
        "gone)."
    )
    is_lost: bool
    cursor: int | None = Field(description="The next offset to be read; null when it was never read.")
    begin: int | None = Field(description="The earliest offset of the brokers.")
    end: int | None = Field(description="The offset after their last one.")
    waiting: int | None = Field(description="Offsets not read yet.")
    lost: int | None = Field(description="Offsets that are gone; null when nobody knows how many.")


class RecordedGap(BaseModel):
    """A loss that the source found and told of."""

    position: int
    time: str | None
    subject: str | None = Field(description="TOPIC/PARTITION.")
    reason: str
    expected_offset: int | None
    resumed_at_offset: int | None


class Reconciliation(BaseModel):
    """A source's cursors against what the brokers have now."""

    source: str
    cluster: str = Field(description="The cluster's own id.")
    is_whole: bool = Field(description="Whether nothing is lost: no partition with a loss, no recorded gap.")
    unknown_topics: list[str] = Field(description="Topics that the source names and the cluster has not.")
    partitions: list[ReconciledPartition]
    gaps: list[RecordedGap] = Field(description="Losses on record, newest first; at most 100.")


@router.get("/sources", summary="List sources")
async def list_sources(parts: GivenParts) -> SourceList:
    """Every source and how it is doing."""
    return SourceList(items=[_body(parts, status) for status in parts.statuses()])


@router.get("/sources/{name}", summary="Show a source")
async def show_source(parts: GivenParts, name: SourceName) -> SourceBody:
    """One source and how it is doing."""
    return _find(parts, name)


@router.post("/sources/{name}/pause", summary="Pause a source")
async def pause_source(parts: GivenParts, name: SourceName) -> SourceBody:
    """Take nothing from a source until it is resumed, on every node and over restarts; durable when answered.

    What waits outside waits there: files and records are found again, senders get 503, missed ticks are up to
    the schedule's misfire policy.
    """
    _find(parts, name)
    await _pauses(parts).pause(name)
    return _find(parts, name)


@router.post("/sources/{name}/resume", summary="Resume a source")
async def resume_source(parts: GivenParts, name: SourceName) -> SourceBody:
    """Let a paused source go on; durable when answered."""
    _find(parts, name)
    await _pauses(parts).resume(name)
    return _find(parts, name)


@router.get("/sources/{name}/reconcile", summary="Reconcile a source")
async def reconcile_source(parts: GivenParts, name: SourceName) -> Reconciliation:
    """Compare a Kafka source's cursors with the offsets that the brokers have now; changes nothing."""
    _find(parts, name)
    if parts.reconcile is None:
        raise StateConflict("sources cannot be reconciled here")
    found = await parts.reconcile(name)
    gaps = await _gaps(parts, name)
    is_lost = any(partition["is_lost"] for partition in found["partitions"])
    return Reconciliation.model_validate(
        {**found, "source": name, "is_whole": not is_lost and not gaps, "gaps": gaps}
    )


async def _gaps(parts: Parts, name: str) -> list[RecordedGap]:
    where = EventFilter(type=Type.SOURCE_GAP.value, source=f"/tidemill/sources/{quote(name, safe='')}")
    found = await parts.store.log.list(where, before=None, limit=_MAX_GAPS)
    return [_gap(logged) for logged in found]


def _gap(logged: LoggedEvent) -> RecordedGap:
    event = logged.event
    data: Mapping[str, Any] = event.data if isinstance(event.data, Mapping) else {}
    return RecordedGap(
        position=logged.position,
        time=event.time,
        subject=event.subject,
        reason=str(data.get("reason", "")),
        expected_offset=data.get("expected_offset"),
        resumed_at_offset=data.get("resumed_at_offset"),
    )


def _find(parts: Parts, name: str) -> SourceBody:
    for status in parts.statuses():
        if status["name"] == name:
            return _body(parts, status)
    raise NotFound("source", name)


def _pauses(parts: Parts) -> Pauses:
    if parts.pauses is None:
        raise StateConflict("sources cannot be paused here")
    return parts.pauses


def _body(parts: Parts, status: Mapping[str, Any]) -> SourceBody:
    at = status["last_event_at"]
    age = None if at is None else max(0.0, (parts.clock.now_us() - at) / 1_000_000)
    times = {"last_event_at": _time(at), "paused_at": _time(status.get("paused_at"))}
    return SourceBody.model_validate({**status, **times, "last_event_age_seconds": age})


def _time(at_us: Any) -> str | None:
    return None if at_us is None else rfc3339(at_us)
