"""When a schedule ticks: pure functions of the schedule and a time given by the caller.

Rules:

1. The tick at T covers the interval [previous tick, T), and comes at its end.
2. A tick exists when its interval begins at or after `start_date` and not after `end_date` (Airflow's
   reading): daily from 1 January ticks for the first time on the 2nd.
3. Ticks rise strictly. A wall time that a change of clocks leaves out ticks once, right after the gap; one
   that happens twice ticks once, the first time. A schedule with `*` for the hour follows real time instead.
4. Intervals are counted from `start_date`, from the epoch where there is none.
5. Times are aware, and UTC when they come out.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import islice, takewhile
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from tidemill.dag.definition import Schedule

__all__ = ["interval_of", "latest_tick", "next_tick", "parse_schedule", "ticks_between"]

_ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_INSTANT = timedelta(microseconds=1)
_SHORTEST = timedelta(seconds=1)
_LONGEST = timedelta(days=36_525)
#: Dates outside have no room for an interval before or after them.
_YEARS = range(1900, 9000)
#: Steps further back than needed, out of the reach of a change of clocks.
_MARGIN = 2


# ── reading ───────────────────────────────────────────────────────────────────────────────────────────────


def parse_schedule(
    written: object,
    *,
    start_date: object = None,
    end_date: object = None,
    catchup: object = False,
    timezone: object = "UTC",
) -> tuple[Schedule | None, list[str]]:
    """The schedule that was written (None: no schedule), and everything that is wrong with it."""
    problems: list[str] = []
    zone = _parse_zone(timezone, problems)
    start = _parse_date("start_date", start_date, problems)
    end = _parse_date("end_date", end_date, problems)
    if start is not None and end is not None and end < start:
        problems.append("end_date is before start_date")
    if not isinstance(catchup, bool):
        problems.append(f"catchup must be True or False, not {catchup!r}")
    cron, interval = None, None
    match written:
        case None:
            return None, problems
        case str():
            cron = _parse_cron(written, zone, problems)
        case timedelta():
            interval = written
            if not _SHORTEST <= interval <= _LONGEST:
                problems.append(f"schedule_interval must be 1 second to 100 years, not {interval}")
        case _:
            problems.append(
                "schedule_interval must be a cron expression, an alias such as '@daily', a timedelta or "
                f"None, not {type(written).__name__}"
            )
    if problems:
        return None, problems
    schedule = Schedule(
        cron=cron,
        interval=interval,
        start_date=start,
        end_date=end,
        catchup=bool(catchup),
        timezone=str(timezone),
    )
    return schedule, problems


def _parse_cron(written: str, zone: tzinfo, problems: list[str]) -> str | None:
    text = written.strip()
    if text.lower() == "@once":
        problems.append(
            "schedule_interval '@once' is not a schedule; leave it out and start the DAG with "
            "'tidemill dags trigger' or an event"
        )
        return None
    if text.startswith("@") and text.lower() not in _ALIASES:
        problems.append(f"schedule_interval {text!r} is not an alias; there are {', '.join(_ALIASES)}")
        return None
    cron = _ALIASES.get(text.lower(), " ".join(text.split()))
    if cron.count(" ") == 5 and cron.startswith("0 "):
        # Second 0 is what five fields mean, and only five fields are mended when clocks change.
        cron = cron[2:]
    try:
        if next(CronSim(cron, _EPOCH.astimezone(zone)), None) is None:
            problems.append(f"schedule_interval {text!r} never happens")
    except CronSimError as error:
        problems.append(
            f"schedule_interval {text!r} is not a cron expression ({str(error).lower()}); there are five "
            "fields: minute hour day-of-month month day-of-week, or six with seconds first"
        )
    return cron


def _parse_zone(name: object, problems: list[str]) -> tzinfo:
    if isinstance(name, str):
        try:
            return _zone(name)
        except (LookupError, ValueError, OSError):
            pass
    problems.append(f"timezone {name!r} is not an IANA name such as 'Europe/Berlin'")
    return UTC


def _parse_date(name: str, value: object, problems: list[str]) -> datetime | None:
    if value is None:
        return None
    if not isinstance(value, datetime):
        problems.append(f"{name} must be a datetime, not {type(value).__name__}")
        return None
    if value.year not in _YEARS:
        problems.append(f"{name} must be in the years {_YEARS.start} to {_YEARS.stop - 1}, not {value.year}")
        return None
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


# ── ticking ───────────────────────────────────────────────────────────────────────────────────────────────


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


def ticks_between(schedule: Schedule, after: datetime, until: datetime, limit: int) -> list[datetime]:
    """The first `limit` ticks later than `after` and not later than `until`, in order."""
    within = takewhile(lambda tick: tick <= until, _ticks(schedule, after))
    return list(islice(within, max(0, limit)))


def interval_of(schedule: Schedule, tick: datetime) -> tuple[datetime, datetime]:
    """Begin and end of the interval that `tick` covers."""
    begin = _boundary_before(schedule, tick - _INSTANT)
    return (tick if begin is None else begin), tick


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
    if schedule.interval is not None:
        boundary = _interval_before(schedule, schedule.interval, after)
        while True:
            boundary += schedule.interval
            yield boundary
    for found in CronSim(str(schedule.cron), after.astimezone(_zone(schedule.timezone))):
        # In the hour that happens twice the library may answer with its first pass: a time already over.
        if (boundary := found.astimezone(UTC)) > after:
            after = boundary
            yield boundary


def _boundary_before(schedule: Schedule, at: datetime) -> datetime | None:
    """The last boundary at or before `at`."""
    if schedule.interval is not None:
        return _interval_before(schedule, schedule.interval, at)
    # Backwards only to find a place to start: forwards alone decides what a boundary is (rule 3).
    backwards = CronSim(
        str(schedule.cron), (at + _SHORTEST).astimezone(_zone(schedule.timezone)), reverse=True
    )
    for earlier in islice(backwards, _MARGIN, None):
        boundaries = _boundaries(schedule, earlier.astimezone(UTC) - _INSTANT)
        found = list(takewhile(lambda boundary: boundary <= at, boundaries))
        if found:
            return found[-1]
    return None


def _interval_before(schedule: Schedule, interval: timedelta, at: datetime) -> datetime:
    anchor = schedule.start_date or _EPOCH
    return anchor + (at - anchor) // interval * interval


def _zone(name: str) -> tzinfo:
    """Raises `LookupError`, `ValueError` or `OSError` when there is no such zone."""
    return UTC if name == "UTC" else ZoneInfo(name)
