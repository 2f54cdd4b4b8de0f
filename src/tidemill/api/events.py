"""`/api/v1/events`: the log, newest first, and what became of each event."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field

from tidemill.api.pages import MAX_POSITION, Limit, Position
from tidemill.api.parts import GivenParts
from tidemill.api.unmatched import find_unmatched
from tidemill.clock import rfc3339
from tidemill.errors import NotFound
from tidemill.events import json_format
from tidemill.events.event import LoggedEvent
from tidemill.storage.contract import DeliveryState, DispositionKind, EventFilter

__all__ = ["router"]

router = APIRouter(prefix="/api/v1/events", tags=["events"])


class EventBody(BaseModel):
    """An event with its place in the log."""

    position: int = Field(description="Place in the log, from 1, without gaps.")
    received_at: str = Field(description="When the log took it, RFC 3339.")
    event: dict[str, Any] = Field(description="The CloudEvent in JSON format.")


class EventPage(BaseModel):
    """Events, newest first."""

    items: list[EventBody]
    next: int | None = Field(description="Pass as `before` for the next page; null at the end.")


class DispositionBody(BaseModel):
    """What became of the event for one trigger that it matched."""

    trigger: str
    kind: DispositionKind
    run: str | None = Field(description="Id of the run that it started.")
    detail: str


class HeldBody(BaseModel):
    """Where the event waits in the admission of one trigger; it has no disposition yet."""

    trigger: str
    stage: str
    key: str = Field(description="What it waits under, as JSON; empty where the stage has no key.")


class DeliveryBody(BaseModel):
    """The event on its way to one subscription."""

    subscription: str
    state: DeliveryState
    attempts: int
    detail: str


class EventView(EventBody):
    """An event with everything that came of it."""

    dispositions: list[DispositionBody]
    held: list[HeldBody]
    deliveries: list[DeliveryBody]


@router.get("", summary="List events")
async def list_events(
    parts: GivenParts,
    type: Annotated[str | None, Query(description="Exactly this type.")] = None,  # noqa: A002 - its name outside
    source: Annotated[str | None, Query(description="Exactly this source.")] = None,
    subject: Annotated[str | None, Query(description="Exactly this subject.")] = None,
    id: Annotated[str | None, Query(description="Exactly this id.")] = None,  # noqa: A002
    unmatched: Annotated[
        bool,
        Query(
            description="Only events that no trigger took; a bounded number is looked at, so a "
            "page may be short and `next` not null. Without `type`, events that tell of runs are left out."
        ),
    ] = False,
    before: Annotated[Position | None, Query(description="Only positions below this one.")] = None,
    limit: Limit = 50,
) -> EventPage:
    """Events that fulfil every condition given, newest first."""
    where = EventFilter(type=type, source=source, subject=subject, id=id)
    if unmatched:
        found, following = await find_unmatched(parts, where, before=before, limit=limit)
    else:
        found = await parts.store.log.list(where, before=before, limit=limit)
        following = found[-1].position if len(found) == limit else None
    return EventPage(items=[EventBody(**_members(logged)) for logged in found], next=following)


@router.get("/{position}", summary="Show an event")
async def show_event(parts: GivenParts, position: Annotated[int, Path(ge=1, le=MAX_POSITION)]) -> EventView:
    """The event at a position, what it started and to whom it is delivered."""
    logged = await parts.store.log.get(position)
    if logged is None:
        raise NotFound("event", str(position))
    dispositions = await parts.store.runs.dispositions(position)
    held = await parts.store.admissions.held_at(position)
    deliveries = await parts.store.outbox.list(position)
    return EventView(
        **_members(logged),
        dispositions=[
            DispositionBody(trigger=each.trigger, kind=each.kind, run=each.run_id, detail=each.detail)
            for each in dispositions
        ],
        held=[HeldBody(trigger=each.trigger, stage=each.stage, key=each.key) for each in held],
        deliveries=[
            DeliveryBody(subscription=name, state=state, attempts=attempts, detail=detail)
            for name, state, attempts, detail in deliveries
        ],
    )


def _members(logged: LoggedEvent) -> dict[str, Any]:
    return {
        "position": logged.position,
        "received_at": rfc3339(logged.received_at),
        "event": json_format.to_json(logged.event),
    }
