"""SCHEDULES → LOG: ticks, told once each. One stage for the schedules of all DAGs, one for each schedule source.

1. A tick is told when the wall clock has reached it, never before, and only when it is later than the cursor:
   a clock that goes back repeats nothing, one that goes forward skips nothing that the misfire policy asks for.
2. The cursor (time of the last tick told or passed over) moves in the transaction that holds the event.
3. Ticks that were missed (the process was down, the source paused, the clock set forward) are the misfire
   policy's: none, the latest, or all.
4. A schedule without a start date begins when it is first seen, which is its first cursor.
5. Waiting happens in slices, because a wall clock that jumps wakes nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Sequence
from datetime import datetime, timedelta

from tidemill.clock import Clock, from_us, rfc3339, to_us
from tidemill.errors import CursorMoved, StorageError
from tidemill.sources.contract import SourceStatus
from tidemill.sources.report import SourceReport
from tidemill.sources.schedule.line import Due, Line
from tidemill.storage.contract import Append, CursorMove, EventLog, Ledger

__all__ = ["TickStage"]

#: Longest wait between two looks at the wall clock.
_SLICE_SECONDS = 30.0
#: Wait after the store failed or was full.
_RETRY_SECONDS = 1.0
#: Most missed ticks of one schedule in one transaction.
_BATCH = 500


class TickStage:
    """Some schedules (implements `Source`)."""

    on_every_node = False

    def __init__(
        self,
        name: str,
        lines: Sequence[Line],
        log: EventLog,
        ledger: Ledger,
        *,
        clock: Clock,
        slice_seconds: float = _SLICE_SECONDS,
    ) -> None:
        """`slice_seconds` is the longest wait between two looks at the wall clock (rule 5)."""
        self.name = name
        self._lines = list(lines)
        self._log = log
        self._ledger = ledger
        self._clock = clock
        self._slice_seconds = slice_seconds
        self._report = SourceReport(name, kind="schedule", clock=clock)

    async def run(self) -> None:
        """Tell ticks until cancelled."""
        self._report.begin()
        try:
            await self._begin()
            while True:
                await self._clock.sleep(await self._tell_due())
        finally:
            self._report.stop()

    def status(self) -> SourceStatus:
        """How it is doing now; `lag` counts the schedules that have something due."""
        return self._report.status(len(self._due_lines()))

    async def _begin(self) -> None:
        while True:
            try:
                await self._read_cursors()
                return
            except StorageError as error:
                self._report.stall(error)
                await self._clock.sleep(_RETRY_SECONDS)

    async def _read_cursors(self) -> None:
        for line in self._lines:
            line.cursor = await self._ledger.cursor(line.cursor_name)
        await _gather(self._first_see(line) for line in self._lines if line.begins_now)
        for line in self._lines:
            line.wake_at = line.next_due(self._now())

    async def _first_see(self, line: Line) -> None:
        cursor = rfc3339(self._clock.now_us())
        try:
            await self._log.append(self._job(line, Due(), cursor))
        except CursorMoved:  # another process saw it first
            line.cursor = await self._ledger.cursor(line.cursor_name)
        else:
            line.cursor = cursor

    async def _tell_due(self) -> float:
        """Tell every tick that is due; the seconds to wait before looking again."""
        try:
            while due := self._due_lines():
                await self._log.wait_for_room()
                await _gather(self._tell(line) for line in due)  # one commit takes them all
        except StorageError as error:
            self._report.stall(error)
            return _RETRY_SECONDS
        self._report.live()
        return self._seconds_to_next()

    def _due_lines(self) -> list[Line]:
        now = self._now()
        return [line for line in self._lines if line.wake_at is not None and line.wake_at <= now]

    async def _tell(self, line: Line) -> None:
        """Tell what one schedule is due, up to a batch; moves its cursor."""
        due = line.due(self._now(), _BATCH)
        if due.cursor is not None:
            cursor = rfc3339(to_us(due.cursor))
            try:
                self._report.count(await self._log.append(self._job(line, due, cursor)))
                line.cursor = cursor
            except CursorMoved:  # another process told them, or the answer of our own commit was lost
                line.cursor = await self._ledger.cursor(line.cursor_name)
        line.wake_at = line.next_due(self._now())

    def _job(self, line: Line, due: Due, cursor: str) -> Append:
        return Append(
            events=[line.event(tick) for tick in due.ticks],
            cursors=[CursorMove(line.cursor_name, line.cursor, cursor)],
            refuse_reuse=False,
            stage="schedule",
            origin=line.name,
        )

    def _seconds_to_next(self) -> float:
        wakes = [line.wake_at for line in self._lines if line.wake_at is not None]
        if not wakes:
            return self._slice_seconds
        remaining = (min(wakes) - self._now()) / timedelta(seconds=1)
        return min(self._slice_seconds, max(0.0, remaining))

    def _now(self) -> datetime:
        return from_us(self._clock.now_us())


async def _gather(doings: Iterable[Awaitable[None]]) -> None:
    """Let all end, then raise the first error there was."""
    for outcome in await asyncio.gather(*doings, return_exceptions=True):
        if outcome is not None:
            raise outcome
