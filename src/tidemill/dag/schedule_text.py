"""What people write of a schedule, read into a `Schedule` with everything that is wrong with it. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from typing import Literal
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from tidemill.dag.definition import Schedule

__all__ = ["MISFIRES", "parse_schedule", "zone_of"]

Misfire = Literal["skip", "one", "all"]
#: What can be done about ticks that were missed.
MISFIRES: tuple[Misfire, ...] = ("skip", "one", "all")

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
_SHORTEST = timedelta(seconds=1)
_LONGEST = timedelta(days=36_525)
#: Dates outside have no room for an interval before or after them.
_YEARS = range(1900, 9000)


def parse_schedule(
    written: object,
    *,
    start_date: object = None,
    end_date: object = None,
    catchup: object = False,
    timezone: object = "UTC",
    misfire: object = None,
    jitter: object = None,
    called: str = "schedule_interval",
) -> tuple[Schedule | None, list[str]]:
    """The schedule that was written (None: no schedule), and everything that is wrong with it.

    `called` is the name of what `written` was given as, for the messages.
    """
    problems: list[str] = []
    zone = _parse_zone(timezone, problems)
    start = _parse_date("start_date", start_date, problems)
    end = _parse_date("end_date", end_date, problems)
    if start is not None and end is not None and end < start:
        problems.append("end_date is before start_date")
    if not isinstance(catchup, bool):
        problems.append(f"catchup must be True or False, not {catchup!r}")
    policy = _parse_misfire(misfire, catchup is True, problems)
    delay = _parse_jitter(jitter, problems)
    cron, interval, at = None, None, None
    match written:
        case None:
            return None, problems
        case str():
            cron = _parse_cron(written, zone, called, problems)
        case timedelta():
            interval = written
            if not _SHORTEST <= interval <= _LONGEST:
                problems.append(f"{called} must be 1 second to 100 years, not {interval}")
        case datetime():
            at = _parse_date(called, written, problems)
            if start is not None or end is not None or catchup is True:
                problems.append(
                    f"{called} is one moment, which start_date, end_date and catchup do not go with"
                )
        case _:
            problems.append(
                f"{called} must be a cron expression, an alias such as '@daily', a timedelta or "
                f"None, not {type(written).__name__}"
            )
    if problems:
        return None, problems
    schedule = Schedule(
        cron=cron,
        interval=interval,
        at=at,
        start_date=start,
        end_date=end,
        catchup=bool(catchup),
        timezone=str(timezone),
        misfire=policy,
        jitter=delay,
    )
    return schedule, problems


def zone_of(name: str) -> tzinfo:
    """Raises `LookupError`, `ValueError` or `OSError` when there is no such zone."""
    return UTC if name == "UTC" else ZoneInfo(name)


def _parse_cron(written: str, zone: tzinfo, called: str, problems: list[str]) -> str | None:
    text = written.strip()
    if text.lower() == "@once":
        problems.append(
            f"{called} '@once' is not a schedule; leave it out and start the DAG with "
            "'tidemill dags trigger' or an event"
        )
        return None
    if text.startswith("@") and text.lower() not in _ALIASES:
        problems.append(f"{called} {text!r} is not an alias; there are {', '.join(_ALIASES)}")
        return None
    cron = _ALIASES.get(text.lower(), " ".join(text.split()))
    if cron.count(" ") == 5 and cron.startswith("0 "):
        # Second 0 is what five fields mean.
        cron = cron[2:]
    try:
        if next(CronSim(cron, _EPOCH.astimezone(zone)), None) is None:
            problems.append(f"{called} {text!r} never happens")
    except CronSimError as error:
        problems.append(
            f"{called} {text!r} is not a cron expression ({str(error).lower()}); there are five "
            "fields: minute hour day-of-month month day-of-week, or six with seconds first"
        )
    return cron


def _parse_zone(name: object, problems: list[str]) -> tzinfo:
    if isinstance(name, str):
        try:
            return zone_of(name)
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


def _parse_misfire(written: object, catchup: bool, problems: list[str]) -> Misfire | None:
    if written is None:
        return None
    for policy in MISFIRES:
        if written == policy:
            if catchup and policy != "all":
                problems.append(f"catchup tells every missed tick, and misfire {policy!r} does not")
            return policy
    problems.append(f"misfire must be 'skip', 'one' or 'all', not {written!r}")
    return None


def _parse_jitter(written: object, problems: list[str]) -> timedelta:
    if written is None:
        return timedelta(0)
    if isinstance(written, timedelta) and timedelta(0) <= written <= timedelta(days=1):
        return written
    problems.append(f"jitter must be a timedelta of at most a day, not {written!r}")
    return timedelta(0)
