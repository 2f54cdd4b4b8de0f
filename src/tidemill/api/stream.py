"""`/api/v1/stream`: the log as server-sent events, without gap or double. Rules:

1. `id:` is the position; a client that reconnects sends it as `Last-Event-ID` and goes on right after it.
2. Only committed events are sent, in the order of the log, each once per connection.
3. Where the events between the client's position and the next one are gone, an event `gap` says so.
4. A slow client is not buffered for: it reads the log at its own pace.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Annotated

import orjson
from fastapi import APIRouter, Header, Query
from starlette.responses import StreamingResponse

from tidemill.api.pages import MAX_POSITION, Position
from tidemill.api.parts import GivenParts, Parts, Receive, Scope, Send
from tidemill.api.problems import Invalid
from tidemill.errors import StorageError
from tidemill.events import json_format, json_text
from tidemill.events.event import Event, LoggedEvent
from tidemill.patterns.filters import compile_filters
from tidemill.patterns.rule import PatternError
from tidemill.storage.contract import EventLog

__all__ = ["PING_SECONDS", "EventStream", "follow", "router"]

#: Silence after which a comment keeps the connection alive, in seconds.
PING_SECONDS = 15.0
#: Events read from the log at once.
_BATCH = 256
#: How long a client should wait before it reconnects, in milliseconds.
_RETRY = b"retry: 1000\n\n"
_PING = b": ping\n\n"

Matches = Callable[[Event], bool]

router = APIRouter(prefix="/api/v1", tags=["stream"])


@router.get(
    "/stream",
    summary="Follow events",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
async def stream(
    parts: GivenParts,
    last_event_id: Annotated[int | None, Header(ge=0, le=MAX_POSITION)] = None,
    after: Annotated[Position | None, Query(description="Begin after this position.")] = None,
    type: Annotated[list[str] | None, Query(description="Only these types.")] = None,  # noqa: A002 - its name outside
    filters: Annotated[
        str | None, Query(max_length=16_384, description="CloudEvents Subscriptions filters, as JSON.")
    ] = None,
) -> StreamingResponse:
    """Events as they are committed, after `Last-Event-ID`, else after `after`, else from now on.

    `id` is the position, `event` the type, `data` the CloudEvent in JSON format.
    """
    log = parts.store.log
    given = (position for position in (last_event_id, after, log.head) if position is not None)
    frames = follow(log, after=next(given), matches=_matcher(type, filters))
    return EventStream(frames, parts)


async def follow(
    log: EventLog, *, after: int, matches: Matches, ping_seconds: float = PING_SECONDS
) -> AsyncGenerator[bytes, None]:
    """Frames of the events after `after` that match, for ever; ends when the store fails."""
    # Where it begins is settled before the first frame: events may come while a frame is being sent.
    cursor = min(after, log.head)
    yield _RETRY if cursor == after else _RETRY + _gap(after, cursor)
    waiting: asyncio.Future[None] | None = None
    try:
        while True:
            batch = await log.read(cursor, _BATCH)
            if not batch:
                waiting = waiting or asyncio.ensure_future(log.wait_for_event(cursor))
                await asyncio.wait((waiting,), timeout=ping_seconds)
                if waiting.done():
                    waiting = waiting.result()
                else:
                    yield _PING
                continue
            if batch[0].position != cursor + 1:
                yield _gap(cursor, batch[0].position - 1)
            cursor = batch[-1].position
            frames = b"".join([_frame(logged) for logged in batch if matches(logged.event)])
            if frames:
                yield frames
    except StorageError:
        # The client reconnects with its position: nothing is lost by ending here.
        return
    finally:
        if waiting is not None:
            waiting.cancel()


class EventStream(StreamingResponse):
    """An endless answer that ends when the client leaves or the service drains."""

    media_type = "text/event-stream"

    def __init__(self, frames: AsyncGenerator[bytes, None], parts: Parts) -> None:
        super().__init__(frames, headers={"x-accel-buffering": "no"})
        self._frames = frames
        self._parts = parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        ends = [
            asyncio.ensure_future(self.stream_response(send)),
            asyncio.ensure_future(self.listen_for_disconnect(receive)),
            asyncio.ensure_future(self._parts.stopping.wait()),
        ]
        try:
            with self._parts.metrics.stream_clients.track_inprogress():
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for end in ends:
                end.cancel()
            await asyncio.gather(*ends, return_exceptions=True)
            await self._frames.aclose()
        sending = ends[0]
        if not sending.cancelled() and (error := sending.exception()) is not None:
            raise error
        if self._parts.stopping.is_set():
            await send({"type": "http.response.body", "body": b"", "more_body": False})


def _matcher(types: list[str] | None, filters: str | None) -> Matches:
    wanted = None if types is None else frozenset(types)
    if filters is None:
        return lambda event: wanted is None or event.type in wanted
    try:
        rule = compile_filters(json_text.parse(filters.encode()))
    except PatternError as error:
        problems = [{"location": pointer, "detail": message} for pointer, message in error.problems]
        raise Invalid(
            "invalid_filters", "the filters are not CloudEvents Subscriptions filters", problems
        ) from error
    return lambda event: (wanted is None or event.type in wanted) and rule.matches(event)


def _frame(logged: LoggedEvent) -> bytes:
    # JSON text has no line breaks, and a validated type has none; one that had would end the field.
    name = logged.event.type.encode().replace(b"\n", b" ").replace(b"\r", b" ")
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (logged.position, name, json_format.encode(logged.event))


def _gap(after: int, until: int) -> bytes:
    """What tells a client that the events after `after` cannot be had; the stream goes on after `until`."""
    return b"id: %d\nevent: gap\ndata: %b\n\n" % (until, orjson.dumps({"after": after, "until": until}))
