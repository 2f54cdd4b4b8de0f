"""Cron schedules over changes of clocks, by table: gaps, repeated hours, seconds, zones with odd changes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.dag.schedule import interval_of, latest_tick, parse_schedule, ticks_between
from tidemill.dag.wall_time import instant_of

#: Schedule, zone, day before, days, and when it ticks (UTC, without the year).
CHANGES = [
    ("30 2 * * *", "Europe/Berlin", "2024-03-30", 3, ["03-30T01:30:00", "03-31T01:00:00", "04-01T00:30:00"]),
    ("30 2 * * *", "Europe/Berlin", "2024-10-26", 3, ["10-26T00:30:00", "10-27T00:30:00", "10-28T01:30:00"]),
    (
        "15 30 2 * * *",
        "Europe/Berlin",
        "2024-03-30",
        3,
        ["03-30T01:30:15", "03-31T01:00:00", "04-01T00:30:15"],
    ),
    (
        "15 30 2 * * *",
        "Europe/Berlin",
        "2024-10-26",
        3,
        ["10-26T00:30:15", "10-27T00:30:15", "10-28T01:30:15"],
    ),
    ("*/30 2 * * *", "Europe/Berlin", "2024-03-31", 1, ["03-31T01:00:00", "04-01T00:00:00"]),
    (
        "*/30 2 * * *",
        "Europe/Berlin",
        "2024-10-26",
        2,
        ["10-26T00:30:00", "10-27T00:00:00", "10-27T00:30:00"],
    ),
    ("0 3 * * *", "Europe/Berlin", "2024-03-31", 1, ["03-31T01:00:00"]),
    ("30 2,3 * * *", "Europe/Berlin", "2024-03-31", 1, ["03-31T01:00:00", "03-31T01:30:00"]),
    ("30 2 * * *", "America/New_York", "2024-03-10", 1, ["03-10T07:00:00"]),
    ("30 1 * * *", "America/New_York", "2024-11-03", 1, ["11-03T05:30:00"]),
    ("15 2 * * *", "Australia/Lord_Howe", "2024-10-05", 1, ["10-05T15:30:00"]),
    ("45 1 * * *", "Australia/Lord_Howe", "2024-04-06", 1, ["04-06T14:45:00"]),
    ("30 2 * * *", "Australia/Sydney", "2024-10-05", 1, ["10-05T16:00:00"]),
    # A whole day is left out.
    (
        "0 12 * * *",
        "Pacific/Apia",
        "2011-12-28",
        3,
        ["12-28T22:00:00", "12-29T22:00:00", "12-30T10:00:00", "12-30T22:00:00"],
    ),
    ("0 12 * * *", "UTC", "2024-03-31", 1, ["03-31T12:00:00"]),
    ("*/20 * * * *", "Europe/Berlin", "2024-03-31", 0, []),
]


@pytest.mark.parametrize(
    ("cron", "zone", "begin", "days", "ticks"),
    CHANGES,
    ids=[f"{row[0]} {row[1]} {row[2]}" for row in CHANGES],
)
def test_ticks_over_a_change_of_clocks(cron: str, zone: str, begin: str, days: int, ticks: list[str]) -> None:
    schedule, problems = parse_schedule(cron, timezone=zone)
    assert schedule is not None, problems
    after = datetime.fromisoformat(begin).replace(tzinfo=UTC)

    found = ticks_between(schedule, after, after + timedelta(days=days), 100)

    assert [f"{tick:%m-%dT%H:%M:%S}" for tick in found] == ticks
    assert [latest_tick(schedule, tick) for tick in found] == found
    for earlier, later in pairwise(found):
        assert interval_of(schedule, later) == (earlier, later)


@pytest.mark.parametrize(
    ("day", "count"), [("2024-03-31", 23 * 180), ("2024-10-27", 25 * 180), ("2024-05-05", 24 * 180)]
)
def test_schedule_without_an_hour_keeps_its_pace_in_seconds(day: str, count: int) -> None:
    schedule, _ = parse_schedule("*/20 * * * * *", timezone="Europe/Berlin")
    assert schedule is not None
    berlin = ZoneInfo("Europe/Berlin")
    begin = datetime.fromisoformat(day).replace(tzinfo=berlin)
    end = (datetime.fromisoformat(day) + timedelta(days=1)).replace(tzinfo=berlin)

    ticks = ticks_between(schedule, begin.astimezone(UTC), end.astimezone(UTC), 100_000)

    assert len(ticks) == count
    assert {later - earlier for earlier, later in pairwise(ticks)} == {timedelta(seconds=20)}


@given(
    zone=st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "UTC"]),
    wall=st.datetimes(min_value=datetime(2011, 1, 1), max_value=datetime(2030, 1, 1)),  # noqa: DTZ001
    seconds=st.integers(0, 200_000),
)
def test_later_wall_times_never_mean_earlier_moments(zone: str, wall: datetime, seconds: int) -> None:
    there = ZoneInfo(zone)
    wall = wall.replace(microsecond=0)

    first, second = instant_of(wall, there), instant_of(wall + timedelta(seconds=seconds), there)

    assert first <= second
    shown = first.astimezone(there).replace(tzinfo=None)
    assert shown >= wall
    if shown != wall:  # left out: the moment is the very end of the gap
        assert (first - timedelta(seconds=1)).astimezone(there).replace(tzinfo=None) < wall
