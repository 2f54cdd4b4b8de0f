"""One schedule and where it stands, and what it is due: pure, apart from the cursor that the stage writes here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from tidemill.dag.definition import Schedule
from tidemill.dag.schedule import due_at, latest_due, next_tick, ticks_between
from tidemill.events.event import Event

__all__ = ["GRACE", "Due", "Line"]

#: A tick that is told within this time of falling due is on time, whatever the misfire policy.
GRACE = timedelta(minutes=1)
#: Before every tick of a schedule that has a start date.
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Due:
    """What is to be done now: ticks to tell (in order), and how far the cursor moves with them."""

    ticks: list[datetime] = field(default_factory=list)
    #: None when there is nothing to do.
    cursor: datetime | None = None


@dataclass(slots=True)
class Line:
    """One schedule."""

    #: The DAG's id, or the name of the source.
    name: str
    schedule: Schedule
    #: Name of its cursor in the ledger.
    cursor_name: str
    #: The event of a tick.
    event: Callable[[datetime], Event]
    #: As it stands in the ledger: the time of the last tick told or passed over.
    cursor: str | None = None
    #: When to look at it again; None when it never ticks any more.
    wake_at: datetime | None = None

    @property
    def told_at(self) -> datetime | None:
        """The last tick that was told or passed over."""
        return None if self.cursor is None else datetime.fromisoformat(self.cursor)

    @property
    def begins_now(self) -> bool:
        """True when there is nothing to count ticks from yet."""
        return self.cursor is None and self.schedule.start_date is None and self.schedule.at is None

    def due(self, now: datetime, limit: int) -> Due:
        """What the misfire policy makes of every tick up to `now` that was not told."""
        schedule, told_at = self.schedule, self.told_at
        if schedule.catchup or (told_at is not None and schedule.policy == "all"):
            ticks = ticks_between(schedule, told_at or _BEGINNING, now, limit, name=self.name)
            return Due(ticks, ticks[-1]) if ticks else Due()
        latest = latest_due(schedule, self.name, now)
        if latest is None or (told_at is not None and latest <= told_at):
            return Due()
        if schedule.policy == "skip" and now - due_at(schedule, self.name, latest) > GRACE:
            return Due([], latest)
        return Due([latest], latest)

    def next_due(self, now: datetime) -> datetime | None:
        """When the next tick after the last one told is due; that may be over already."""
        schedule, after = self.schedule, self.told_at or _BEGINNING
        if self.told_at is None and not schedule.catchup:
            latest = latest_due(schedule, self.name, now)
            if latest is not None:
                return due_at(schedule, self.name, latest)
        tick = next_tick(schedule, after)
        return None if tick is None else due_at(schedule, self.name, tick)
