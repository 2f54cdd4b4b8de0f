"""What people write of a schedule beyond cron and intervals: moments, misfire policies, jitter."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tidemill.dag.schedule import (
    due_at,
    interval_of,
    latest_due,
    latest_tick,
    next_tick,
    parse_schedule,
    ticks_between,
)

MOMENT = datetime(2026, 12, 24, 18, tzinfo=UTC)
EVER = datetime(1990, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("written", "options", "message"),
    [
        ("@daily", {"misfire": "two"}, "misfire must be 'skip', 'one' or 'all', not 'two'"),
        ("@daily", {"misfire": "one", "catchup": True}, "catchup tells every missed tick"),
        ("@daily", {"jitter": timedelta(days=2)}, "jitter must be a timedelta of at most a day"),
        ("@daily", {"jitter": timedelta(seconds=-1)}, "jitter must be a timedelta of at most a day"),
        ("@daily", {"jitter": 5}, "jitter must be a timedelta of at most a day, not 5"),
        (MOMENT, {"start_date": EVER}, "schedule_interval is one moment"),
        (MOMENT, {"catchup": True}, "schedule_interval is one moment"),
        (datetime(9999, 1, 1, tzinfo=UTC), {}, "must be in the years 1900 to 8999"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_to_do(
    written: Any, options: dict[str, Any], message: str
) -> None:
    schedule, problems = parse_schedule(written, **options)

    assert schedule is None
    assert len(problems) == 1
    assert message in problems[0]


@pytest.mark.parametrize(
    ("options", "policy"),
    [({}, "one"), ({"catchup": True}, "all"), ({"misfire": "skip"}, "skip"), ({"misfire": "all"}, "all")],
)
def test_policy_follows_from_catchup_unless_it_is_written(options: dict[str, Any], policy: str) -> None:
    schedule, _ = parse_schedule("@daily", **options)

    assert schedule is not None
    assert schedule.policy == policy


def test_moment_is_one_tick() -> None:
    schedule, _ = parse_schedule(MOMENT)
    assert schedule is not None
    before, after = MOMENT - timedelta(microseconds=1), MOMENT + timedelta(days=9)

    assert (next_tick(schedule, before), next_tick(schedule, MOMENT)) == (MOMENT, None)
    assert (latest_tick(schedule, before), latest_tick(schedule, MOMENT)) == (None, MOMENT)
    assert ticks_between(schedule, EVER, after, 10) == [MOMENT]
    assert interval_of(schedule, MOMENT) == (MOMENT, MOMENT)


def test_naive_moment_is_utc() -> None:
    schedule, _ = parse_schedule(datetime(2026, 12, 24, 18))  # noqa: DTZ001

    assert schedule is not None
    assert schedule.at == MOMENT


def test_ticks_fall_due_in_their_order_however_large_the_jitter() -> None:
    schedule, _ = parse_schedule("*/10 9 * * *", jitter=timedelta(hours=20))
    assert schedule is not None
    ticks = ticks_between(schedule, EVER, EVER + timedelta(days=9), 50, name="a")

    dues = [due_at(schedule, "a", tick) for tick in ticks]

    assert dues == sorted(dues)
    assert all(tick <= due < later for tick, due, later in zip(ticks, dues, ticks[1:], strict=False))
    assert [latest_due(schedule, "a", due) for due in dues] == ticks
    assert [latest_due(schedule, "a", due - timedelta(microseconds=1)) for due in dues[1:]] == ticks[:-1]
