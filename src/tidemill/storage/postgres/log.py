"""The event log on PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import asyncpg

from tidemill.clock import Clock
from tidemill.events.digest import identity_key
from tidemill.events.event import LoggedEvent
from tidemill.storage.commit import AppendJob, event_row
from tidemill.storage.contract import Append, Appended, EventFilter
from tidemill.storage.limits import Limits
from tidemill.storage.postgres.queries import QUERIES
from tidemill.storage.postgres.reading import Reading
from tidemill.storage.postgres.writer import Writer
from tidemill.storage.rows import logged_from_row
from tidemill.storage.tail import Tail

__all__ = ["PostgresEventLog"]

_ROOM_CHECK_SECONDS = 0.1
#: The stored event as JSON. PostgreSQL reads no member of a document in which any text holds NUL, so that NULs are left
#: out (an escaped one: after an even number of backslashes); no attribute that is asked for can hold one.
_BODY = (
    "(CASE WHEN position('\\x5c7530303030'::bytea IN body) > 0"
    r" THEN regexp_replace(convert_from(body, 'UTF8'), '(?<!\\)((?:\\\\)*)\\u0000', '\1', 'g')"
    " ELSE convert_from(body, 'UTF8') END)::json"
)


class PostgresEventLog:
    """See `EventLog`. `head` and `routed` include what other nodes did, as far as it has been heard of."""

    def __init__(
        self, *, writer: Writer, reading: Reading, tail: Tail, clock: Clock, limits: Limits, routed: int
    ) -> None:
        self.routed = routed
        self._writer = writer
        self._reading = reading
        self._tail = tail
        self._clock = clock
        self._limits = limits

    @property
    def head(self) -> int:
        return self._tail.head

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
        while self.overload() is not None:  # noqa: ASYNC110 - other nodes route too
            await asyncio.sleep(_ROOM_CHECK_SECONDS)

    async def read(self, after: int, limit: int) -> list[LoggedEvent]:
        held = self._tail.read(after, limit)
        if held is not None:
            return held
        return _logged(await self._reading.fetch(QUERIES["read_events"], after, limit))

    async def wait_for_event(self, after: int) -> None:
        await self._tail.wait(after)

    async def get(self, position: int) -> LoggedEvent | None:
        return next(iter(_logged(await self._reading.fetch(QUERIES["event_at"], position))), None)

    async def find(self, source: str, event_id: str) -> LoggedEvent | None:
        key = identity_key(source, event_id)
        return next(iter(_logged(await self._reading.fetch(QUERIES["event_by_key"], key))), None)

    async def list(self, where: EventFilter, *, before: int | None, limit: int) -> list[LoggedEvent]:
        conditions: list[tuple[str, str | None]] = [
            ("type", where.type),
            ("source", where.source),
            (f"{_BODY} ->> 'subject'", where.subject),
            (f"{_BODY} ->> 'id'", where.id),
        ]
        wanted = [(text, value) for text, value in conditions if value is not None]
        texts = "".join(f" AND {text} = ${place}" for place, (text, _) in enumerate(wanted, 3))
        query = QUERIES["list_events"].format(conditions=texts)
        values: list[Any] = [(1 << 62) if before is None else before, limit, *(value for _, value in wanted)]
        return _logged(await self._reading.fetch(query, *values))


def _logged(rows: Sequence[asyncpg.Record]) -> list[LoggedEvent]:
    return [logged_from_row(tuple(row)) for row in rows]
