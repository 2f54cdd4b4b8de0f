"""The event log: appending through the writer, reading from memory or the database."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from tidemill.clock import Clock
from tidemill.events.digest import identity_key
from tidemill.events.event import LoggedEvent
from tidemill.storage.claims import EventData
from tidemill.storage.commit import AppendJob, event_row
from tidemill.storage.contract import Append, Appended, EventFilter
from tidemill.storage.limits import Limits
from tidemill.storage.reading import Reading
from tidemill.storage.rows import logged_from_row
from tidemill.storage.tail import Tail
from tidemill.storage.writing import Writing

__all__ = ["StoredLog"]

_ROOM_CHECK_SECONDS = 0.1
#: Beyond every position.
_LAST = 1 << 62


class StoredLog:
    """See `EventLog`; each database adds how far events are routed."""

    def __init__(
        self,
        *,
        writer: Writing,
        reading: Reading,
        tail: Tail,
        clock: Clock,
        limits: Limits,
        data: EventData | None = None,
    ) -> None:
        """`data` is where large data is; None where the log holds all of it."""
        self._writer = writer
        self._reading = reading
        self._tail = tail
        self._clock = clock
        self._limits = limits
        self._data = data
        #: Where data is put away first, jobs that move cursors wait for those before them of the same origin.
        self._lanes: dict[str, asyncio.Lock] = {}

    @property
    def head(self) -> int:
        return self._tail.head

    @property
    def routed(self) -> int:
        """Position up to which events are routed."""
        raise NotImplementedError

    async def append(self, job: Append) -> list[Appended]:
        if self._data is not None and self._data.puts:
            return await self._put_and_append(job, self._data)
        at = self._clock.now_us()
        rows = [event_row(event, at) for event in job.events]
        answers: list[Appended] = await self._writer.submit(AppendJob(job, rows, at))
        return answers

    async def _put_and_append(self, job: Append, data: EventData) -> list[Appended]:
        lane = self._lanes.setdefault(job.origin, asyncio.Lock()) if job.cursors else asyncio.Lock()
        async with lane:
            rows = await data.rows(job.events, self._clock)
            committing = self._writer.submit(AppendJob(job, rows, self._clock.now_us()))
        answers: list[Appended] = await committing
        return answers

    def overload(self) -> int | None:
        limits = self._limits
        is_full = self._tail.head - self.routed > limits.backlog or self._writer.waiting > limits.write_queue
        return 1 if is_full else None

    async def wait_for_room(self) -> None:
        while self.overload() is not None:  # noqa: ASYNC110 - neither disks nor other nodes tell when there is room
            await asyncio.sleep(_ROOM_CHECK_SECONDS)

    async def read(self, after: int, limit: int, *, as_logged: bool = False) -> list[LoggedEvent]:
        found = self._tail.read(after, limit)
        if found is None:
            found = [logged_from_row(row) for row in await self._reading.rows("read_events", after, limit)]
        return found if as_logged or self._data is None else await self._data.filled(found)

    async def filled(self, events: list[LoggedEvent]) -> list[LoggedEvent]:
        return events if self._data is None else await self._data.filled(events)

    async def wait_for_event(self, after: int) -> None:
        await self._tail.wait(after)

    async def get(self, position: int) -> LoggedEvent | None:
        return await self._first("event_at", position)

    async def at(self, positions: Sequence[int]) -> list[LoggedEvent]:
        found: dict[int, LoggedEvent] = {}
        missing = set(positions)
        for position in sorted(missing):
            held = self._tail.read(position - 1, 1)
            if held and held[0].position == position:
                found[position] = held[0]
        missing -= found.keys()
        if missing:
            rows = await self._reading.rows("events_at", frozenset(missing))
            found.update((logged.position, logged) for logged in map(logged_from_row, rows))
        events = [found[position] for position in sorted(found)]
        if self._data is None:
            return events
        filled: list[LoggedEvent] = []
        while len(filled) < len(events):  # asked for by position: all of them, whatever they weigh
            filled += await self._data.filled(events[len(filled) :])
        return filled

    async def find(self, source: str, event_id: str) -> LoggedEvent | None:
        return await self._first("event_by_key", identity_key(source, event_id))

    async def _first(self, query: str, value: Any) -> LoggedEvent | None:
        found = [logged_from_row(row) for row in await self._reading.rows(query, value)]
        return next(iter(await self.filled(found)), None)

    async def list(self, where: EventFilter, *, before: int | None, limit: int) -> list[LoggedEvent]:
        member = self._reading.member
        conditions = [
            ("type = {}", where.type),
            ("source = {}", where.source),
            (f"{member('subject')} = {{}}", where.subject),
            (f"{member('id')} = {{}}", where.id),
        ]
        first = _LAST if before is None else before
        rows = await self._reading.rows("list_events", first, limit, where=conditions)
        return [logged_from_row(row) for row in rows]
