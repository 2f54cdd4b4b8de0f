"""`/api/v1/past`: the log in its own order, with what became of each event, for whoever compares or copies it."""

from __future__ import annotations

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from tidemill.api.pages import Position
from tidemill.api.parts import GivenParts
from tidemill.clock import rfc3339
from tidemill.events import json_format
from tidemill.events.event import LoggedEvent
from tidemill.storage.contract import Became

__all__ = ["router"]

router = APIRouter(prefix="/api/v1", tags=["events"])


class BecameBody(BaseModel):
    """What became of the event for one trigger."""

    trigger: str
    kind: str
    run: str | None = Field(description="Id of the run that it started.")
    detail: str
    dag: str | None = Field(description="DAG of the run, where the run is kept.")
    parameters: Any = Field(description="Parameters of the run, where the run is kept.")


class PastEvent(BaseModel):
    """An event with what became of it."""

    position: int
    received_at: str = Field(description="RFC 3339.")
    received_us: int = Field(description="The same in microseconds since the epoch.")
    event: dict[str, Any]
    dispositions: list[BecameBody]


class PastPage(BaseModel):
    """Events in the order of the log."""

    items: list[PastEvent]
    head: int = Field(description="Position of the newest event.")
    routed: int = Field(description="Position up to which events are routed.")


@router.get("/past", summary="Read the log in order")
async def read_past(
    parts: GivenParts,
    after: Annotated[Position, Query(description="Only positions above this one.")] = 0,
    limit: Annotated[int, Query(ge=1, le=500, description="Most events.")] = 500,
) -> PastPage:
    """Events that are routed, oldest first, with what became of them."""
    log = parts.store.log
    events = [one for one in await log.read(after, limit) if one.position <= log.routed]
    became: dict[int, list[Became]] = {}
    if events:
        for one in await parts.store.keeping.became(events[0].position, events[-1].position):
            became.setdefault(one.disposition.position, []).append(one)
    return PastPage(
        items=[_event(one, became.get(one.position, [])) for one in events], head=log.head, routed=log.routed
    )


def _event(logged: LoggedEvent, became: list[Became]) -> PastEvent:
    return PastEvent(
        position=logged.position,
        received_at=rfc3339(logged.received_at),
        received_us=logged.received_at,
        event=json_format.to_json(logged.event),
        dispositions=[
            BecameBody(
                trigger=one.disposition.trigger,
                kind=one.disposition.kind,
                run=one.disposition.run_id,
                detail=one.disposition.detail,
                dag=one.dag,
                parameters=None if one.parameters is None else orjson.loads(one.parameters),
            )
            for one in became
        ],
    )
