"""`/api/v1/replays`: recorded events that are told again to triggers."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from tidemill.api.bodies import read_body, schema_of
from tidemill.api.pages import MAX_POSITION
from tidemill.api.parts import GivenParts, Parts
from tidemill.api.problems import Invalid
from tidemill.clock import rfc3339, to_us
from tidemill.errors import NotFound
from tidemill.ids import new_id
from tidemill.patterns.filters import compile_filters
from tidemill.patterns.rule import PatternError
from tidemill.storage.replay import Replay, ReplayState

__all__ = ["router"]

router = APIRouter(prefix="/api/v1/replays", tags=["replays"])


class ReplayOrder(BaseModel):
    """Which recorded events to tell again, and to which triggers; every condition given must hold."""

    model_config = ConfigDict(extra="forbid")

    after: int = Field(0, ge=0, le=MAX_POSITION, description="Only positions above this one.")
    until: int | None = Field(
        None,
        ge=0,
        le=MAX_POSITION,
        description="Only up to this position; the end of the log when not given.",
    )
    received_from: AwareDatetime | None = Field(None, description="Received at or after this time.")
    received_before: AwareDatetime | None = Field(None, description="Received before this time.")
    type: str | None = Field(None, description="Exactly this type.")
    source: str | None = Field(None, description="Exactly this source.")
    subject: str | None = Field(None, description="Exactly this subject.")
    filters: list[Any] = Field([], description="CloudEvents Subscriptions filters; all must match.")
    triggers: list[str] = Field([], description="Names of the triggers that are told; all when empty.")
    if_no_runs: bool = Field(
        False, description="Leave out events that started a run (of one of the triggers)."
    )
    rate: float | None = Field(
        None, gt=0, description="Most events told per second; no limit when not given."
    )


class ReplayView(BaseModel):
    """One replay and how far it got."""

    id: str = Field(description="Its mark: the `replayid` of what is told again.")
    state: ReplayState
    at: str = Field(description="When it was asked for, RFC 3339.")
    position: int = Field(description="Everything up to this position was looked at.")
    until: int = Field(description="Where it ends.")
    told: int = Field(description="Events that were told again.")
    skipped: int = Field(description="Events that were looked at and left out.")
    triggers: list[str]


class ReplayPage(BaseModel):
    """Every replay, oldest first."""

    items: list[ReplayView]


@router.post(
    "",
    status_code=202,
    summary="Tell recorded events again",
    openapi_extra={"requestBody": schema_of(ReplayOrder)},
)
async def ask_for_replay(parts: GivenParts, request: Request) -> ReplayView:
    """Keep the order; it is durable on return and carried out from the log's beginning onwards."""
    order = await read_body(request, ReplayOrder)
    _check(parts, order)
    head = parts.store.log.head
    replay = Replay(
        id=new_id(),
        at=parts.clock.now_us(),
        position=order.after,
        until=head if order.until is None else min(order.until, head),
        received_from=_us(order.received_from),
        received_before=_us(order.received_before),
        type=order.type,
        source=order.source,
        subject=order.subject,
        filters=order.filters,
        triggers=order.triggers,
        if_no_runs=order.if_no_runs,
        rate=order.rate,
    )
    await parts.store.replays.add(replay)
    return _view(replay)


@router.get("", summary="List replays")
async def list_replays(parts: GivenParts) -> ReplayPage:
    """Every replay, oldest first."""
    return ReplayPage(items=[_view(replay) for replay in await parts.store.replays.list()])


@router.get("/{replay_id}", summary="Show a replay")
async def show_replay(parts: GivenParts, replay_id: Annotated[str, Path(max_length=64)]) -> ReplayView:
    """One replay and how far it got."""
    replay = await parts.store.replays.get(replay_id)
    if replay is None:
        raise NotFound("replay", replay_id)
    return _view(replay)


@router.post("/{replay_id}/cancel", summary="Stop a replay")
async def cancel_replay(parts: GivenParts, replay_id: Annotated[str, Path(max_length=64)]) -> ReplayView:
    """Stop a replay where it stands; what was told stays told. Does nothing to one that has ended."""
    replay = await parts.store.replays.cancel(replay_id)
    if replay is None:
        raise NotFound("replay", replay_id)
    return _view(replay)


def _check(parts: Parts, order: ReplayOrder) -> None:
    known = {trigger.name for trigger in parts.project().triggers} | {"schedule", "manual", "retry"}
    if unknown := sorted(set(order.triggers) - known):
        problems = [{"location": "/triggers", "detail": f"there is no trigger {name!r}"} for name in unknown]
        raise Invalid("invalid_replay", "triggers are named that do not exist", problems)
    if order.filters:
        try:
            compile_filters(order.filters)
        except PatternError as error:
            problems = [{"location": f"/filters{place}", "detail": said} for place, said in error.problems]
            raise Invalid(
                "invalid_filters", "the filters are not CloudEvents Subscriptions filters", problems
            ) from error


def _us(moment: datetime | None) -> int | None:
    return None if moment is None else to_us(moment)


def _view(replay: Replay) -> ReplayView:
    return ReplayView(
        id=replay.id,
        state=replay.state,
        at=rfc3339(replay.at),
        position=replay.position,
        until=replay.until,
        told=replay.told,
        skipped=replay.skipped,
        triggers=list(replay.triggers),
    )
