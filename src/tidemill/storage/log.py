"""The event log: appending through the writer, reading from memory or the database."""

from __future__ import annotations

import asyncio

from tidemill.clock import Clock
from tidemill.events.digest import identity_key
from tidemill.events.event import LoggedEvent
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
        self, *, writer: Writing, reading: Reading, tail: Tail, clock: Clock, limits: Limits
    ) -> None:
        self._writer = writer
        self._reading = reading
        self._tail = tail
        self._clock = clock
        self._limits = limits

    @property
    def head(self) -> int:
        return self._tail.head

    @property
    def routed(self) -> int:
        """Position up to which events are routed."""
        raise NotImplementedError

    async def append(self, job: Append) -> list[Appended]:
        at = self._clock.now_us()
        rows = [event_row(event, at) for event in job.events]
        answers: list[Appended] = await self._writer.submit(AppendJob(job, rows, at))
        return answers

    def overload(self) -> int | None:
        limits = self._limits
        is_full = self._tail.head - self.routed > limits.backlog or self._writer.waiting > limits.write_queue
        return 1 if is_full else None

    async def wait_for_room(self) -> None:
        while self.overload() is not None:  # noqa: ASYNC110 - neither disks nor other nodes tell when there is room
            await asyncio.sleep(_ROOM_CHECK_SECONDS)

    async def read(self, after: int, limit: int) -> list[LoggedEvent]:
        held = self._tail.read(after, limit)
        if held is not None:
            return held
        return [logged_from_row(row) for row in await self._reading.rows("read_events", after, limit)]

    async def wait_for_event(self, after: int) -> None:
        await self._tail.wait(after)

    async def get(self, position: int) -> LoggedEvent | None:
        return next(map(logged_from_row, await self._reading.rows("event_at", position)), None)

    async def find(self, source: str, event_id: str) -> LoggedEvent | None:
        rows = await self._reading.rows("event_by_key", identity_key(source, event_id))
        return next(map(logged_from_row, rows), None)

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
