"""From what a clock on the wall shows to the moment at which it shows it, where clocks change. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo

__all__ = ["instant_of"]

_SECOND = timedelta(seconds=1)


def instant_of(wall: datetime, zone: tzinfo) -> datetime:
    """The moment (UTC) at which clocks in `zone` show `wall`, whose own zone does not matter.

    A time that is shown twice means the first; one that is left out means the moment right after the gap. So later
    wall times never mean earlier moments.
    """
    first = wall.replace(tzinfo=zone, fold=0)
    instant = first.astimezone(UTC)
    if instant.astimezone(zone).replace(tzinfo=None) == wall.replace(tzinfo=None):
        return instant
    # Left out: read with the offset before the gap the moment lies after it, with the offset after it before.
    before, after = wall.replace(tzinfo=zone, fold=1).astimezone(UTC), instant
    old = before.astimezone(zone).utcoffset()
    while after - before > _SECOND:
        middle = before + (after - before) // 2
        middle = middle.replace(microsecond=0)
        if middle <= before:
            break
        if middle.astimezone(zone).utcoffset() == old:
            before = middle
        else:
            after = middle
    return after
