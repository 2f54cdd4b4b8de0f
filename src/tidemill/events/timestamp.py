"""Timestamps as RFC 3339 writes them, checked without `datetime`, which knows no year 0 and no leap seconds.

No clock, no arithmetic on time.
"""

from __future__ import annotations

import re

__all__ = ["problem"]

_TIME = re.compile(
    r"([0-9]{4})-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])[Tt]"
    r"([01][0-9]|2[0-3]):([0-5][0-9]):([0-5][0-9]|60)(?:\.[0-9]+)?"
    r"(?:[Zz]|([+-])([01][0-9]|2[0-3]):([0-5][0-9]))"
)
_DAYS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_MINUTES_PER_DAY = 24 * 60


def problem(text: str) -> str | None:
    """What keeps `text` from being an RFC 3339 timestamp; None when it is one."""
    found = _TIME.fullmatch(text)
    if found is None:
        return "is not RFC 3339 (2006-01-02T15:04:05Z)"
    if found[3] > "28" and int(found[3]) > _days_in_month(int(found[1]), int(found[2])):
        return "names a day that does not exist"
    if found[6] == "60" and not _is_last_minute_of_day(found):
        return "names a second 60 where no leap second can be"
    return None


def _days_in_month(year: int, month: int) -> int:
    is_leap_year = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    return 29 if month == 2 and is_leap_year else _DAYS[month - 1]


def _is_last_minute_of_day(found: re.Match[str]) -> bool:
    """Whether it is 23:59 in UTC, the minute that leap seconds are added to (RFC 3339, section 5.7)."""
    minutes = int(found[4]) * 60 + int(found[5])
    if found[7] is not None:
        offset = int(found[8]) * 60 + int(found[9])
        minutes += -offset if found[7] == "+" else offset
    return minutes % _MINUTES_PER_DAY == _MINUTES_PER_DAY - 1
