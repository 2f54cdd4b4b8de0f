"""The event log on SQLite."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from tidemill.clock import Clock
from tidemill.events.digest import identity_key
from tidemill.events.event import LoggedEvent
from tidemill.storage.commit import ROUTER_CURSOR, AppendJob, event_row
from tidemill.storage.contract import Append, Appended, EventFilter
from tidemill.storage.limits import Limits
from tidemill.storage.rows import logged_from_row
from tidemill.storage.sqlite.connection import Session
from tidemill.storage.sqlite.queries import QUERIES
from tidemill.storage.sqlite.writer import Writer
from tidemill.storage.tail import Tail

__all__ = ["SqliteEventLog"]

#: How long a look at the free disk space is good for, in seconds.
_DISK_CHECK_SECONDS = 1.0
_ROOM_CHECK_SECONDS = 0.1


class SqliteEventLog:
    """See `EventLog`."""

    def __init__(
        self, path: Path, *, writer: Writer, reader: Session, tail: Tail, clock: Clock, limits: Limits
    ) -> None:
        self._path = path
        self._writer = writer
        self._reader = reader
        self._tail = tail
        self._clock = clock
        self._limits = limits
        self._disk_checked_at = 0.0
        self._disk_full = False

    @property
    def head(self) -> int:
        return self._tail.head

    @property
    def routed(self) -> int:
        """Position up to which events are routed."""
        return int(self._writer.positions.cursors.get(ROUTER_CURSOR, "0"))

    async def append(self, job: Append) -> list[Appended]:
        at = self._clock.now_us()
        rows = [event_row(event, at) for event in job.events]
        answers: list[Appended] = await self._writer.submit(AppendJob(job, rows, at))
        return answers

    def overload(self) -> int | None:
        limits = self._limits
        if self._tail.head - self.routed > limits.backlog or self._writer.waiting > limits.write_queue:
            return 1
        return 30 if self._is_disk_full() else None

    async def wait_for_room(self) -> None:
        while self.overload() is not None:  # noqa: ASYNC110 - disk space tells nobody when it is back
            await asyncio.sleep(_ROOM_CHECK_SECONDS)

    def _is_disk_full(self) -> bool:
        now = time.monotonic()
        if now - self._disk_checked_at > _DISK_CHECK_SECONDS:
            self._disk_checked_at = now
            self._disk_full = shutil.disk_usage(self._path.parent).free < self._limits.min_free_disk_bytes
        return self._disk_full

    async def read(self, after: int, limit: int) -> list[LoggedEvent]:
        held = self._tail.read(after, limit)
        if held is not None:
            return held
        rows = await self._reader.execute_fetchall(QUERIES["read_events"], (after, limit))
        return [logged_from_row(row) for row in rows]  # type: ignore[arg-type]

    async def wait_for_event(self, after: int) -> None:
        await self._tail.wait(after)

    async def get(self, position: int) -> LoggedEvent | None:
        rows = await self._reader.execute_fetchall(QUERIES["event_at"], (position,))
        return next((logged_from_row(row) for row in rows), None)  # type: ignore[arg-type]

    async def find(self, source: str, event_id: str) -> LoggedEvent | None:
        rows = await self._reader.execute_fetchall(QUERIES["event_by_key"], (identity_key(source, event_id),))
        return next((logged_from_row(row) for row in rows), None)  # type: ignore[arg-type]

    async def list(self, where: EventFilter, *, before: int | None, limit: int) -> list[LoggedEvent]:
        conditions: list[tuple[str, str | None]] = [
            ("type = ?", where.type),
            ("source = ?", where.source),
            ("body ->> '$.subject' = ?", where.subject),
            ("body ->> '$.id' = ?", where.id),
        ]
        wanted = [(text, value) for text, value in conditions if value is not None]
        query = QUERIES["list_events"].format(conditions="".join(f" AND {text}" for text, _ in wanted))
        values: Sequence[object] = [
            self.head + 1 if before is None else before,
            *(value for _, value in wanted),
            limit,
        ]
        rows = await self._reader.execute_fetchall(query, values)
        return [logged_from_row(row) for row in rows]  # type: ignore[arg-type]
