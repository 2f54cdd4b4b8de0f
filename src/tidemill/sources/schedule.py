"""SCHEDULES → LOG: every DAG's ticks, told once each; one stage for all DAGs.

1. A tick is told when the wall clock has reached it, never before, and only when it is later than the cursor:
   a clock that goes back repeats nothing, one that goes forward skips nothing that `catchup` asks for.
2. The cursor (time of the last tick told) moves in the transaction that holds the event.
3. Without `catchup` at most the latest missed tick is told, once (Airflow's rule).
4. A DAG without a start date begins when it is first seen, which is its first cursor.
5. Waiting happens in slices, because a wall clock that jumps wakes nobody.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from tidemill.clock import Clock, from_us, rfc3339, to_us
from tidemill.dag.definition import Dag, Schedule
from tidemill.dag.schedule import interval_of, latest_tick, next_tick, ticks_between
from tidemill.errors import CursorMoved, StorageError
from tidemill.events import lifecycle
from tidemill.events.event import Event
from tidemill.sources.contract import SourceState, SourceStatus
from tidemill.storage.contract import Append, Appended, CursorMove, EventLog, Ledger

__all__ = ["ScheduleSourceStage"]

logger = logging.getLogger(__name__)

#: Longest wait between two looks at the wall clock.
_SLICE_SECONDS = 30.0
#: Wait after the store failed or was full.
_RETRY_SECONDS = 1.0
#: Most missed ticks of one DAG in one transaction.
_BATCH = 500
#: Before every tick of a DAG that has a start date.
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class _Line:
    """One DAG's schedule and where it stands."""

    dag: str
    schedule: Schedule
    cursor: str | None = None
    #: The next tick to be told; None when there is none any more.
    due_at: datetime | None = None

    @property
    def name(self) -> str:
        return f"schedule/{self.dag}"

    @property
    def told_at(self) -> datetime | None:
        return None if self.cursor is None else datetime.fromisoformat(self.cursor)

    @property
    def begins_now(self) -> bool:
        """True when there is nothing to count ticks from yet (rule 4)."""
        return self.cursor is None and self.schedule.start_date is None


class ScheduleSourceStage:
    """The schedules of all DAGs (implements `Source`)."""

    on_every_node = False

    def __init__(self, dags: Sequence[Dag], log: EventLog, ledger: Ledger, *, clock: Clock) -> None:
        self.name = "schedule"
        self._lines = [_Line(dag.dag_id, dag.schedule) for dag in dags if dag.schedule is not None]
        self._log = log
        self._ledger = ledger
        self._clock = clock
        self._state = SourceState.STARTING
        self._error = ""
        self._accepted = 0
        self._duplicates = 0
        self._last_event_at: int | None = None

    async def run(self) -> None:
        """Tell ticks until cancelled."""
        logger.info("source.started", extra={"source": self.name, "kind": "schedule"})
        try:
            await self._begin()
            while True:
                await self._clock.sleep(await self._tell_due())
        finally:
            self._state = SourceState.STOPPED

    def status(self) -> SourceStatus:
        """How it is doing now."""
        return SourceStatus(
            name=self.name,
            kind="schedule",
            state=self._state,
            accepted=self._accepted,
            duplicates=self._duplicates,
            last_event_at=self._last_event_at,
            error=self._error,
        )

    async def _begin(self) -> None:
        while True:
            try:
                await self._read_cursors()
                return
            except StorageError as error:
                self._stall(error)
                await self._clock.sleep(_RETRY_SECONDS)

    async def _read_cursors(self) -> None:
        cursors = await self._ledger.cursors("schedule/")
        for line in self._lines:
            line.cursor = cursors.get(line.name)
        await _gather(self._first_see(line) for line in self._lines if line.begins_now)
        for line in self._lines:
            line.due_at = self._next_due(line)

    async def _first_see(self, line: _Line) -> None:
        cursor = rfc3339(self._clock.now_us())
        job = Append(cursors=[CursorMove(line.name, None, cursor)], stage="schedule", origin=line.dag)
        try:
            await self._log.append(job)
        except CursorMoved:  # another process saw it first
            line.cursor = await self._ledger.cursor(line.name)
        else:
            line.cursor = cursor

    async def _tell_due(self) -> float:
        """Tell every tick that is due; the seconds to wait before looking again."""
        try:
            while due := self._due_lines():
                await self._log.wait_for_room()
                await _gather(self._tell(line) for line in due)  # one commit takes them all
        except StorageError as error:
            self._stall(error)
            return _RETRY_SECONDS
        self._state, self._error = SourceState.LIVE, ""
        return self._seconds_to_next()

    def _due_lines(self) -> list[_Line]:
        now = self._now()
        return [line for line in self._lines if line.due_at is not None and line.due_at <= now]

    async def _tell(self, line: _Line) -> None:
        """Tell what one DAG is due, up to a batch; moves its cursor."""
        ticks = self._missed(line)
        if not ticks:
            line.due_at = next_tick(line.schedule, self._now())
            return
        cursor = rfc3339(to_us(ticks[-1]))
        job = Append(
            events=[_event(line, tick) for tick in ticks],
            cursors=[CursorMove(line.name, line.cursor, cursor)],
            refuse_reuse=False,
            stage="schedule",
            origin=line.dag,
        )
        try:
            self._count(await self._log.append(job))
            line.cursor = cursor
        except CursorMoved:  # another process told them, or the answer of our own commit was lost
            line.cursor = await self._ledger.cursor(line.name)
        line.due_at = self._next_due(line)

    def _missed(self, line: _Line) -> list[datetime]:
        now = self._now()
        if line.schedule.catchup:
            return ticks_between(line.schedule, line.told_at or _BEGINNING, now, _BATCH)
        latest = latest_tick(line.schedule, now)
        told_at = line.told_at
        return [] if latest is None or (told_at is not None and latest <= told_at) else [latest]

    def _next_due(self, line: _Line) -> datetime | None:
        """The next tick after the last one told; what was never told may be due already."""
        if line.told_at is None and not line.schedule.catchup:
            latest = latest_tick(line.schedule, self._now())
            return latest or next_tick(line.schedule, self._now())
        return next_tick(line.schedule, line.told_at or _BEGINNING)

    def _seconds_to_next(self) -> float:
        dues = [line.due_at for line in self._lines if line.due_at is not None]
        if not dues:
            return _SLICE_SECONDS
        remaining = (min(dues) - self._now()) / timedelta(seconds=1)
        return min(_SLICE_SECONDS, max(0.0, remaining))

    def _now(self) -> datetime:
        return from_us(self._clock.now_us())

    def _count(self, answers: Sequence[Appended]) -> None:
        duplicates = sum(answer.duplicate for answer in answers)
        self._duplicates += duplicates
        self._accepted += len(answers) - duplicates
        self._last_event_at = self._clock.now_us()

    def _stall(self, error: Exception) -> None:
        if self._state is not SourceState.STALLED:
            logger.warning("source.stalled", extra={"source": self.name, "error": str(error)})
        self._state, self._error = SourceState.STALLED, str(error)


async def _gather(doings: Iterable[Awaitable[None]]) -> None:
    """Let all end, then raise the first error there was."""
    for outcome in await asyncio.gather(*doings, return_exceptions=True):
        if outcome is not None:
            raise outcome


def _event(line: _Line, tick: datetime) -> Event:
    begin, end = interval_of(line.schedule, tick)
    return lifecycle.schedule_tick(
        dag=line.dag,
        scheduled_at_us=to_us(tick),
        interval_start_us=to_us(begin),
        interval_end_us=to_us(end),
    )
