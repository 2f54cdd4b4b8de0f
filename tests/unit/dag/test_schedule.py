"""When schedules tick, over changes of clocks as well."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.dag.definition import Schedule
from tidemill.dag.schedule import interval_of, latest_tick, next_tick, parse_schedule, ticks_between

BERLIN = ZoneInfo("Europe/Berlin")
DAY = timedelta(days=1)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def parsed(written: object, **options: Any) -> Schedule:
    schedule, problems = parse_schedule(written, **options)
    assert problems == []
    assert schedule is not None
    return schedule


# ── reading ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("written", "cron"),
    [
        ("@hourly", "0 * * * *"),
        ("@daily", "0 0 * * *"),
        ("@midnight", "0 0 * * *"),
        ("@weekly", "0 0 * * 0"),
        ("@monthly", "0 0 1 * *"),
        ("@yearly", "0 0 1 1 *"),
        ("@annually", "0 0 1 1 *"),
        ("  5  4 * * MON-FRI ", "5 4 * * MON-FRI"),
        ("*/10 * * * * *", "*/10 * * * * *"),
        ("0 30 2 * * *", "30 2 * * *"),
    ],
)
def test_cron_and_aliases_are_read(written: str, cron: str) -> None:
    assert parsed(written).cron == cron


def test_no_schedule_is_none() -> None:
    assert parse_schedule(None, start_date=datetime(2024, 1, 1)) == (None, [])  # noqa: DTZ001


def test_naive_dates_are_utc_and_others_are_turned_into_utc() -> None:
    schedule = parsed(
        "@daily",
        start_date=datetime(2024, 1, 1),  # noqa: DTZ001
        end_date=datetime(2024, 6, 1, tzinfo=BERLIN),
        timezone="Europe/Berlin",
        catchup=True,
    )

    assert schedule.start_date == at("2024-01-01")
    assert schedule.end_date == at("2024-05-31T22:00")
    assert (schedule.timezone, schedule.catchup) == ("Europe/Berlin", True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"written": "@once"}, "'@once' is not a schedule; leave it out and start the DAG with"),
        ({"written": "@fortnightly"}, "'@fortnightly' is not an alias; there are @hourly"),
        ({"written": "* * * *"}, "is not a cron expression (wrong number of fields)"),
        ({"written": "* * * * * * *"}, "is not a cron expression (wrong number of fields)"),
        ({"written": "0 25 * * *"}, "is not a cron expression (bad hour)"),
        ({"written": ""}, "is not a cron expression"),
        ({"written": "0 0 30 2 *"}, "is not a cron expression (bad day-of-month)"),
        (
            {"written": 5},
            "must be a cron expression, an alias such as '@daily', a timedelta or None, not int",
        ),
        ({"written": timedelta(0)}, "must be 1 second to 100 years, not 0:00:00"),
        ({"written": timedelta(milliseconds=999)}, "must be 1 second to 100 years"),
        ({"written": timedelta.max}, "must be 1 second to 100 years"),
        (
            {"written": None, "start_date": at("0001-01-01")},
            "start_date must be in the years 1900 to 8999, not 1",
        ),
        (
            {"written": None, "end_date": at("9999-12-31")},
            "end_date must be in the years 1900 to 8999, not 9999",
        ),
        ({"written": "@daily", "timezone": "Berlin"}, "timezone 'Berlin' is not an IANA name"),
        ({"written": "@daily", "timezone": "../etc"}, "timezone '../etc' is not an IANA name"),
        ({"written": "@daily", "timezone": "Europe"}, "timezone 'Europe' is not an IANA name"),
        ({"written": None, "timezone": 3}, "timezone 3 is not an IANA name"),
        ({"written": None, "start_date": "2024-01-01"}, "start_date must be a datetime, not str"),
        (
            {"written": None, "start_date": at("2024-02-01"), "end_date": at("2024-01-01")},
            "end_date is before",
        ),
        ({"written": "@daily", "catchup": "no"}, "catchup must be True or False, not 'no'"),
    ],
)
def test_wrong_schedules_are_refused_with_what_to_do(options: dict[str, Any], message: str) -> None:
    schedule, problems = parse_schedule(options.pop("written"), **options)

    assert schedule is None
    assert len(problems) == 1
    assert message in problems[0]


def test_every_problem_of_a_schedule_is_told() -> None:
    _, problems = parse_schedule("nonsense", start_date=1, end_date=2, timezone="x", catchup=None)

    assert len(problems) == 5


# ── ticking ───────────────────────────────────────────────────────────────────────────────────────────────


def test_daily_ticks_first_at_the_end_of_the_first_day() -> None:
    schedule = parsed("@daily", start_date=at("2024-01-01"))

    first = next_tick(schedule, at("1970-01-01"))

    assert first == at("2024-01-02")
    assert interval_of(schedule, at("2024-01-02")) == (at("2024-01-01"), at("2024-01-02"))
    assert next_tick(schedule, at("2024-01-02")) == at("2024-01-03")
    assert next_tick(schedule, at("2024-01-01T23:59:59.999999")) == at("2024-01-02")


def test_a_start_between_boundaries_waits_for_the_first_whole_interval() -> None:
    schedule = parsed("@daily", start_date=at("2024-01-01T00:00:01"))

    assert next_tick(schedule, at("2020-01-01")) == at("2024-01-03")


def test_latest_tick_is_inclusive_and_none_before_the_first() -> None:
    schedule = parsed("@daily", start_date=at("2024-01-01"))

    assert latest_tick(schedule, at("2024-01-01T23:59:59")) is None
    assert latest_tick(schedule, at("2024-01-02")) == at("2024-01-02")
    assert latest_tick(schedule, at("2024-03-01T12:00")) == at("2024-03-01")


def test_the_last_interval_begins_at_the_end_date_at_the_latest() -> None:
    schedule = parsed("@daily", start_date=at("2024-01-01"), end_date=at("2024-01-03"))

    assert ticks_between(schedule, at("2000-01-01"), at("2100-01-01"), 99) == [
        at("2024-01-02"),
        at("2024-01-03"),
        at("2024-01-04"),
    ]
    assert next_tick(schedule, at("2024-01-04")) is None
    assert latest_tick(schedule, at("2030-01-01")) == at("2024-01-04")


def test_an_end_before_the_first_whole_interval_ticks_never() -> None:
    schedule = parsed("@monthly", start_date=at("2024-01-02"), end_date=at("2024-01-20"))

    assert next_tick(schedule, at("2020-01-01")) is None
    assert latest_tick(schedule, at("2030-01-01")) is None


def test_intervals_are_counted_from_the_start_date() -> None:
    schedule = parsed(timedelta(hours=7), start_date=at("2024-01-01T01:00"))

    assert next_tick(schedule, at("2023-06-01")) == at("2024-01-01T08:00")
    assert next_tick(schedule, at("2024-01-01T08:00")) == at("2024-01-01T15:00")
    assert latest_tick(schedule, at("2024-01-01T14:59")) == at("2024-01-01T08:00")
    assert latest_tick(schedule, at("2024-01-01T07:59")) is None
    assert interval_of(schedule, at("2024-01-01T08:00"))[0] == at("2024-01-01T01:00")


def test_intervals_without_a_start_are_counted_from_the_epoch() -> None:
    schedule = parsed(timedelta(seconds=90))

    assert next_tick(schedule, at("1970-01-01")) == at("1970-01-01T00:01:30")
    assert latest_tick(schedule, at("1970-01-01T00:03:10")) == at("1970-01-01T00:03:00")


def test_ticks_between_excludes_the_beginning_includes_the_end_and_keeps_the_limit() -> None:
    schedule = parsed("@hourly")
    begin, end = at("2024-01-01T00:00"), at("2024-01-01T05:00")

    assert ticks_between(schedule, begin, end, 99) == [begin + timedelta(hours=hour) for hour in range(1, 6)]
    assert ticks_between(schedule, begin, end, 2) == [at("2024-01-01T01:00"), at("2024-01-01T02:00")]
    assert ticks_between(schedule, begin, end, 0) == []
    assert ticks_between(schedule, end, begin, 9) == []


def test_six_fields_begin_with_seconds() -> None:
    schedule = parsed("15 * * * * *")

    assert next_tick(schedule, at("2024-01-01T00:00:20")) == at("2024-01-01T00:01:15")


def test_leap_days_are_found_over_years() -> None:
    schedule = parsed("0 0 29 2 *")

    assert next_tick(schedule, at("2024-03-01")) == at("2028-02-29")
    assert latest_tick(schedule, at("2028-02-28")) == at("2024-02-29")
    assert interval_of(schedule, at("2028-02-29"))[0] == at("2024-02-29")


# Berlin 2024: 31 March 02:00 → 03:00 (01:00 UTC); 27 October 03:00 → 02:00 (01:00 UTC).


def test_a_wall_time_that_spring_leaves_out_ticks_once_right_after_the_gap() -> None:
    schedule = parsed("30 2 * * *", timezone="Europe/Berlin")

    ticks = ticks_between(schedule, at("2024-03-29T12:00"), at("2024-04-01T12:00"), 9)

    assert ticks == [at("2024-03-30T01:30"), at("2024-03-31T01:00"), at("2024-04-01T00:30")]
    assert latest_tick(schedule, at("2024-03-31T01:00")) == at("2024-03-31T01:00")
    assert latest_tick(schedule, at("2024-03-31T00:59")) == at("2024-03-30T01:30")


def test_a_wall_time_that_autumn_repeats_ticks_once_the_first_time() -> None:
    schedule = parsed("30 2 * * *", timezone="Europe/Berlin")

    ticks = ticks_between(schedule, at("2024-10-26T12:00"), at("2024-10-28T12:00"), 9)

    assert ticks == [at("2024-10-27T00:30"), at("2024-10-28T01:30")]
    assert next_tick(schedule, at("2024-10-27T01:10")) == at("2024-10-28T01:30")
    assert latest_tick(schedule, at("2024-10-27T01:45")) == at("2024-10-27T00:30")


def test_days_are_twenty_three_and_twenty_five_hours_long_when_clocks_change() -> None:
    schedule = parsed("@daily", timezone="Europe/Berlin")

    spring = interval_of(schedule, at("2024-03-31T22:00"))
    autumn = interval_of(schedule, at("2024-10-27T23:00"))

    assert spring[1] - spring[0] == timedelta(hours=23)
    assert autumn[1] - autumn[0] == timedelta(hours=25)


@pytest.mark.parametrize("day", ["2024-03-31", "2024-10-27"])
def test_every_half_hour_follows_real_time_when_clocks_change(day: str) -> None:
    schedule = parsed("*/30 * * * *", timezone="Europe/Berlin")

    ticks = ticks_between(schedule, at(day), at(day) + DAY, 99)

    assert len(ticks) == 48
    assert all(later - earlier == timedelta(minutes=30) for earlier, later in pairwise(ticks))


_CRONS = [
    "30 2 * * *",
    "0,30 2,3 * * *",
    "*/20 * * * *",
    "0 * * * *",
    "5 1-4 * * *",
    "0 0 * * SUN",
    "15 30 2 * * *",
    "59 59 * * * *",
]
_MOMENTS = st.one_of(
    st.integers(-200, 200).map(lambda minutes: at("2024-03-31T01:00") + timedelta(minutes=minutes)),
    st.integers(-200, 200).map(lambda minutes: at("2024-10-27T01:00") + timedelta(minutes=minutes)),
    st.datetimes(datetime(2000, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
)


@given(
    st.sampled_from([*_CRONS, timedelta(minutes=37)]),
    st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]),
    _MOMENTS,
)
def test_ticks_rise_and_looking_back_agrees_with_looking_forward(
    written: str | timedelta, zone: str, moment: datetime
) -> None:
    schedule = parsed(written, timezone=zone)

    ticks = ticks_between(schedule, moment, moment + timedelta(days=30), 6)

    assert moment < ticks[0]
    assert all(earlier < later for earlier, later in pairwise(ticks))
    assert next_tick(schedule, moment) == ticks[0]
    for earlier, later in pairwise(ticks):
        assert next_tick(schedule, earlier) == later
        assert interval_of(schedule, later) == (earlier, later)
        assert latest_tick(schedule, later - timedelta(microseconds=1)) == earlier
        assert latest_tick(schedule, later) == later
