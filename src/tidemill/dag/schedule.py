"""When a schedule ticks: pure functions of the schedule and a time given by the caller.

Rules:

1. The tick at T covers the interval [previous tick, T), and comes at its end.
2. A tick exists when its interval begins at or after `start_date` and not after `end_date` (Airflow's
   reading): daily from 1 January ticks for the first time on the 2nd.
3. Ticks rise strictly. A wall time that a change of clocks leaves out ticks once, right after the gap; one
   that happens twice ticks once, the first time. A schedule with `*` for the hour follows real time instead.
4. Intervals are counted from `start_date`, from the epoch where there is none. A moment (`at`) is one tick.
5. A tick is due at its time or up to `jitter` later: the delay follows from the schedule's name and the tick,
   and never reaches the next tick, so that ticks fall due in their order.
6. Times are aware, and UTC when they come out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from itertools import islice, takewhile

from cronsim import CronSim

from tidemill.dag.definition import Schedule
from tidemill.dag.schedule_text import parse_schedule, zone_of
from tidemill.dag.wall_time import instant_of

__all__ = [
    "due_at",
    "interval_of",
    "latest_due",
    "latest_tick",
    "next_tick",
    "parse_schedule",
    "ticks_between",
]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_INSTANT = timedelta(microseconds=1)
_SECOND = timedelta(seconds=1)
#: Steps further back than needed, out of the reach of a change of clocks.
_MARGIN = 2


def next_tick(schedule: Schedule, after: datetime) -> datetime | None:
    """The first tick later than `after`; None when there is none any more."""
    return next(_ticks(schedule, after), None)


def latest_tick(schedule: Schedule, at: datetime) -> datetime | None:
    """The last tick at or before `at`; None when there was none yet."""
    final = _final_tick(schedule)
    tick = _boundary_before(schedule, at if final is None else min(at, final))
    first = _first_boundary(schedule)
    if tick is None or (first is not None and tick <= first):
        return None
    return tick


def ticks_between(
    schedule: Schedule, after: datetime, until: datetime, limit: int, *, name: str = ""
) -> list[datetime]:
    """The first `limit` ticks later than `after` that are due at `until`, in order.

    `name` is the schedule's, for its jitter.
    """
    within = takewhile(
        lambda tick: tick <= until and due_at(schedule, name, tick) <= until, _ticks(schedule, after)
    )
    return list(islice(within, max(0, limit)))


def interval_of(schedule: Schedule, tick: datetime) -> tuple[datetime, datetime]:
    """Begin and end of the interval that `tick` covers."""
    begin = _boundary_before(schedule, tick - _INSTANT)
    return (tick if begin is None else begin), tick


def due_at(schedule: Schedule, name: str, tick: datetime) -> datetime:
    """When `tick` of the schedule called `name` is to be told: the same whenever and wherever it is asked."""
    if not schedule.jitter:
        return tick
    following = next(_boundaries(schedule, tick), None)
    room = schedule.jitter if following is None else min(schedule.jitter, following - tick)
    chance = blake2b(f"{name}\0{tick.isoformat()}".encode(), digest_size=8).digest()
    # Whole microseconds, rounded down: always less than `room`.
    return tick + _INSTANT * (room // _INSTANT * int.from_bytes(chance, "big") >> 64)


def latest_due(schedule: Schedule, name: str, at: datetime) -> datetime | None:
    """The last tick that is due at `at`; None when there was none yet."""
    tick = latest_tick(schedule, at)
    if tick is not None and due_at(schedule, name, tick) > at:
        tick = latest_tick(schedule, tick - _INSTANT)
    return tick


def _ticks(schedule: Schedule, after: datetime) -> Iterator[datetime]:
    first = _first_boundary(schedule)
    final = _final_tick(schedule)
    for tick in _boundaries(schedule, after if first is None else max(after, first)):
        if final is not None and tick > final:
            return
        yield tick


def _first_boundary(schedule: Schedule) -> datetime | None:
    """Where the first interval begins; None when intervals have always been."""
    if schedule.start_date is None:
        return None
    return next(_boundaries(schedule, schedule.start_date - _INSTANT), None)


def _final_tick(schedule: Schedule) -> datetime | None:
    """The end of the last interval; None when there is no last one."""
    if schedule.end_date is None:
        return None
    begin = _boundary_before(schedule, schedule.end_date)
    return schedule.end_date if begin is None else next(_boundaries(schedule, begin), None)


# ── boundaries between intervals, without regard to start and end ─────────────────────────────────────────


def _boundaries(schedule: Schedule, after: datetime) -> Iterator[datetime]:
    """All boundaries later than `after`, in order."""
    if schedule.at is not None:
        if schedule.at > after:
            yield schedule.at
        return
    if schedule.interval is not None:
        boundary = _interval_before(schedule, schedule.interval, after)
        while True:
            boundary += schedule.interval
            yield boundary
    cron, zone = str(schedule.cron), zone_of(schedule.timezone)
    if _follows_real_time(cron):
        instants: Iterable[datetime] = CronSim(cron, after.astimezone(zone))
    else:
        # One second back: a wall time that happens twice may lie before the one that `after` shows.
        written = after.astimezone(zone).replace(tzinfo=UTC, microsecond=0) - _SECOND
        instants = (instant_of(wall, zone) for wall in CronSim(cron, written))
    for found in instants:
        # In the hour that happens twice the first pass may be over already.
        if (boundary := found.astimezone(UTC)) > after:
            after = boundary
            yield boundary


def _boundary_before(schedule: Schedule, at: datetime) -> datetime | None:
    """The last boundary at or before `at`."""
    if schedule.at is not None:
        return schedule.at if schedule.at <= at else None
    if schedule.interval is not None:
        return _interval_before(schedule, schedule.interval, at)
    # Backwards only to find a place to start: forwards alone decides what a boundary is (rule 3).
    cron, zone = str(schedule.cron), zone_of(schedule.timezone)
    shown = (at + _SECOND).astimezone(zone)
    if _follows_real_time(cron):
        backwards: Iterable[datetime] = CronSim(cron, shown, reverse=True)
    else:
        written = shown.replace(tzinfo=UTC, microsecond=0) + _SECOND
        backwards = (instant_of(wall, zone) for wall in CronSim(cron, written, reverse=True))
    for earlier in islice(backwards, _MARGIN, None):
        boundaries = _boundaries(schedule, earlier.astimezone(UTC) - _INSTANT)
        found = list(takewhile(lambda boundary: boundary <= at, boundaries))
        if found:
            return found[-1]
    return None


def _follows_real_time(cron: str) -> bool:
    """Whether the hour is left open, so that ticks come at a steady pace whatever the wall clock shows."""
    return cron.split(" ")[-4].startswith("*")


def _interval_before(schedule: Schedule, interval: timedelta, at: datetime) -> datetime:
    anchor = schedule.start_date or _EPOCH
    return anchor + (at - anchor) // interval * interval
