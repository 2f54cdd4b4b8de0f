"""Misfire policies, jitter, moments and schedules of `triggers/`, under virtual time on a real store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.conformance.databases import DATABASES, opened

from tidemill.clock import to_us
from tidemill.dag.definition import Schedule
from tidemill.dag.schedule import due_at, parse_schedule, ticks_between
from tidemill.events.event import Event
from tidemill.project.model import ScheduleSource
from tidemill.sources.pauses import PausableSource, SourcePauses
from tidemill.sources.schedule import NamedScheduleStage
from tidemill.sources.schedule.line import GRACE, Line
from tidemill.storage.contract import EventFilter, Store
from tidemill.testing.clock import ManualClock

HOUR = 3_600.0
NOON = datetime(2024, 5, 10, 12, tzinfo=UTC)


def parsed(written: Any, **options: Any) -> Schedule:
    schedule, problems = parse_schedule(written, **options)
    assert problems == []
    assert schedule is not None
    return schedule


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(to_us(NOON))


@pytest.fixture(params=DATABASES)
async def store(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> AsyncIterator[Store]:
    async with opened(request, tmp_path, clock) as store:
        yield store


def stage(store: Store, clock: ManualClock, written: Any, **options: Any) -> NamedScheduleStage:
    spec = ScheduleSource(
        name="nightly",
        schedule=parsed(written, **options),
        event_type="com.example.tick",
        event_source="/tidemill/sources/nightly",
    )
    return NamedScheduleStage(spec, store.log, store.ledger, clock=clock)


@asynccontextmanager
async def running(source: Any, clock: ManualClock) -> AsyncIterator[None]:
    """The source runs and has told what was due; it waits for time to pass."""
    task = asyncio.create_task(source.run())
    await asyncio.wait_for(clock.wait_for_planned(), 10)
    yield
    task.cancel()
    await asyncio.wait((task,))


async def pass_time(clock: ManualClock, seconds: float) -> None:
    """Let time pass as the source waits for it, with the disk's work done in between."""
    left = seconds
    while left > 0:
        step = min(left, clock.next_seconds or left)
        clock.advance(step)
        left -= step
        await asyncio.sleep(0)
        await asyncio.wait_for(clock.wait_for_planned(), 10)


async def told(store: Store) -> list[str]:
    """Scheduled times of the ticks in the log, in order."""
    found = await store.log.list(EventFilter(type="com.example.tick"), before=None, limit=5000)
    return [logged.event.data["scheduled_at"][11:19] for logged in reversed(found)]


async def test_tick_of_a_source_is_an_event_like_any_other(store: Store, clock: ManualClock) -> None:
    async with running(stage(store, clock, "@hourly"), clock):
        await pass_time(clock, HOUR)

    [logged] = await store.log.read(0, 10)
    event: Event = logged.event
    assert (event.type, event.source) == ("com.example.tick", "/tidemill/sources/nightly")
    assert (event.id, event.subject) == ("nightly/2024-05-10T13:00:00.000000Z", "nightly")
    assert event.data == {
        "schedule": "nightly",
        "scheduled_at": "2024-05-10T13:00:00.000000Z",
        "interval_start": "2024-05-10T12:00:00.000000Z",
        "interval_end": "2024-05-10T13:00:00.000000Z",
    }


@pytest.mark.parametrize(
    ("misfire", "after"),
    [("skip", []), ("one", ["17:00:00"]), ("all", ["14:00:00", "15:00:00", "16:00:00", "17:00:00"])],
)
@pytest.mark.parametrize("how", ["down", "clock set forward", "paused"])
async def test_missed_ticks_are_the_policys(
    store: Store, clock: ManualClock, misfire: str, after: list[str], how: str
) -> None:
    def build() -> NamedScheduleStage:
        return stage(store, clock, "@hourly", misfire=misfire)

    first = build()
    if how == "paused":
        pauses = SourcePauses(store.log, store.ledger, clock=clock)
        await pauses.load()
        async with running(PausableSource(first, pauses), clock):
            await pass_time(clock, HOUR)
            await pauses.pause("nightly")
            while clock.planned:  # noqa: ASYNC110
                await asyncio.sleep(0)
            clock.advance(4.5 * HOUR)
            await pauses.resume("nightly")
            await asyncio.wait_for(clock.wait_for_planned(), 10)
            missed = await told(store)
            await pass_time(clock, 0.5 * HOUR)
    else:
        async with running(first, clock):
            await pass_time(clock, HOUR)
            if how == "clock set forward":
                clock.jump(4.5 * HOUR)
                await pass_time(clock, 30)
                missed = await told(store)
                await pass_time(clock, 0.5 * HOUR - 30)
        if how == "down":
            clock.jump(4.5 * HOUR)
            async with running(build(), clock):
                missed = await told(store)
                await pass_time(clock, 0.5 * HOUR)

    assert missed == ["13:00:00", *after]
    assert await told(store) == ["13:00:00", *after, "18:00:00"]


async def test_skip_tells_what_is_late_by_less_than_the_grace(store: Store, clock: ManualClock) -> None:
    async with running(stage(store, clock, "@hourly", misfire="skip"), clock):
        pass
    clock.jump(HOUR + GRACE.total_seconds())

    async with running(stage(store, clock, "@hourly", misfire="skip"), clock):
        pass

    assert await told(store) == ["13:00:00"]


async def test_skipped_ticks_stay_skipped_over_a_restart_and_a_clock_that_goes_back(
    store: Store, clock: ManualClock
) -> None:
    async with running(stage(store, clock, "@hourly", misfire="skip"), clock):
        pass
    clock.jump(3.5 * HOUR)
    async with running(stage(store, clock, "@hourly", misfire="skip"), clock):
        pass
    clock.jump(-3 * HOUR)

    async with running(stage(store, clock, "@hourly", misfire="skip"), clock):
        await pass_time(clock, 4 * HOUR)

    assert await told(store) == ["16:00:00"]


async def test_moment_ticks_once(store: Store, clock: ManualClock) -> None:
    at = NOON + timedelta(minutes=90)

    async with running(stage(store, clock, at), clock):
        await pass_time(clock, 90 * 60 - 1)
        before = await told(store)
        await pass_time(clock, 1)
        await pass_time(clock, 3 * HOUR)
    async with running(stage(store, clock, at), clock):
        await pass_time(clock, HOUR)

    assert before == []
    assert await told(store) == ["13:30:00"]


@pytest.mark.parametrize(("misfire", "ticks"), [("skip", []), ("one", ["09:00:00"]), ("all", ["09:00:00"])])
async def test_moment_that_is_over_when_first_seen_is_a_missed_tick(
    store: Store, clock: ManualClock, misfire: str, ticks: list[str]
) -> None:
    async with running(stage(store, clock, NOON - timedelta(hours=3), misfire=misfire), clock):
        await pass_time(clock, HOUR)

    assert await told(store) == ticks


async def test_jitter_delays_each_tick_the_same_way_and_never_beyond(
    store: Store, clock: ManualClock
) -> None:
    jitter = timedelta(minutes=10)
    schedule = parsed("@hourly", jitter=jitter)
    delay = due_at(schedule, "nightly", NOON + timedelta(hours=1)) - (NOON + timedelta(hours=1))

    async with running(stage(store, clock, "@hourly", jitter=jitter), clock):
        await pass_time(clock, HOUR + delay.total_seconds() - 0.001)
        before = await told(store)
        await pass_time(clock, 0.001)
        after = await told(store)

    assert timedelta(0) <= delay < jitter
    assert (before, after) == ([], ["13:00:00"])


def test_jitter_differs_between_schedules_and_ticks() -> None:
    schedule = parsed("@hourly", jitter=timedelta(minutes=10))
    ticks = ticks_between(schedule, NOON, NOON + timedelta(days=2), 40)

    delays = {(due_at(schedule, name, tick) - tick) for name in ("a", "b") for tick in ticks}

    assert len(delays) == 80
    assert max(delays) < timedelta(minutes=10)


# ── against a model that looks at every second ────────────────────────────────────────────────────────────

WRITTEN = st.one_of(
    st.sampled_from(["*/7 * * * *", "0 */3 * * *", "40 */3 * * * *", "30 2 * * *"]),
    st.integers(60, 5_000).map(lambda seconds: timedelta(seconds=seconds)),
)


@settings(max_examples=60, deadline=None)
@given(
    written=WRITTEN,
    misfire=st.sampled_from(["skip", "one", "all"]),
    jitter=st.integers(0, 600),
    looks=st.lists(st.integers(-2_000, 6_000), min_size=1, max_size=6),
    limit=st.integers(5, 50),
)
def test_line_agrees_with_a_model_whatever_the_clock_does(
    written: Any, misfire: str, jitter: int, looks: list[int], limit: int
) -> None:
    schedule = parsed(written, misfire=misfire, jitter=timedelta(seconds=jitter), timezone="Europe/Berlin")
    line = Line("s", schedule, "tick/s", lambda _: pytest.fail("no event is made here"))
    line.cursor = NOON.isoformat()
    told_at, now = NOON, NOON
    told: list[datetime] = []
    for seconds in looks:
        now += timedelta(seconds=seconds)
        ended = False
        while not ended:
            # The model: every tick after the last one told, one by one.
            punctual = replace(schedule, jitter=timedelta(0))
            due = [
                tick
                for tick in ticks_between(punctual, told_at, now, 100_000)
                if due_at(schedule, "s", tick) <= now
            ]
            match misfire:
                case "all":
                    wanted, cursor = due[:limit], due[min(limit, len(due)) - 1] if due else None
                case "one":
                    wanted, cursor = due[-1:], due[-1] if due else None
                case _:
                    late = bool(due) and now - due_at(schedule, "s", due[-1]) > GRACE
                    wanted, cursor = [] if late else due[-1:], due[-1] if due else None

            found = line.due(now, limit)

            assert found.ticks == wanted
            assert found.cursor == cursor
            told += wanted
            ended = cursor is None or misfire != "all"
            if cursor is not None:
                told_at = cursor
                line.cursor = cursor.isoformat()
        next_due = line.next_due(now)
        assert next_due is not None
        assert next_due > now
    assert told == sorted(set(told))
