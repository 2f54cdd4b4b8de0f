"""The schedule source under virtual time, on a real store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tidemill.clock import to_us
from tidemill.dag.definition import Dag
from tidemill.dag.schedule import parse_schedule
from tidemill.errors import StoreUnavailable
from tidemill.events.event import Event
from tidemill.sources.contract import SourceState
from tidemill.sources.schedule import ScheduleSourceStage
from tidemill.storage.contract import Append, Appended, EventFilter, Store
from tidemill.storage.sqlite import open_store
from tidemill.testing.clock import ManualClock

DAY = 86_400.0
HOUR = 3_600.0
NOON = datetime(2024, 5, 10, 12, tzinfo=UTC)


def dag(name: str, written: Any, **options: Any) -> Dag:
    schedule, problems = parse_schedule(written, **options)
    assert not problems
    return Dag(
        dag_id=name,
        version="1",
        tasks=(),
        index={},
        roots=(),
        output=None,
        parameters=None,
        schedule=schedule,
    )


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(to_us(NOON))


@pytest.fixture
async def store(tmp_path: Path, clock: ManualClock) -> AsyncIterator[Store]:
    opened = await open_store(tmp_path / "tidemill.db", clock=clock)
    yield opened
    await opened.close()


@pytest.fixture
def make(store: Store, clock: ManualClock) -> Callable[..., ScheduleSourceStage]:
    def stage(*dags: Dag, log: Any = None) -> ScheduleSourceStage:
        return ScheduleSourceStage(dags, log or store.log, store.ledger, clock=clock)

    return stage


@asynccontextmanager
async def running(stage: ScheduleSourceStage, clock: ManualClock) -> AsyncIterator[None]:
    """The stage runs and has told what was due; it waits for time to pass."""
    task = asyncio.create_task(stage.run())
    await asyncio.wait_for(clock.wait_for_planned(), 10)
    yield
    task.cancel()
    await asyncio.wait((task,))
    assert task.cancelled()


async def pass_time(clock: ManualClock, seconds: float) -> None:
    """Let time pass as the stage waits for it, with the disk's work done in between."""
    left = seconds
    while left > 0:
        step = min(left, clock.next_seconds or left)
        clock.advance(step)
        left -= step
        await asyncio.sleep(0)
        await asyncio.wait_for(clock.wait_for_planned(), 10)


async def told(store: Store, name: str = "report") -> list[str]:
    """Times of the ticks in the log, in order, without the zone."""
    where = EventFilter(source=f"/tidemill/schedules/{name}")
    found = await store.log.list(where, before=None, limit=5000)
    return [str(logged.event.time).removesuffix(".000000Z") for logged in reversed(found)]


async def test_tick_is_told_at_its_time_and_not_before(make: Any, store: Store, clock: ManualClock) -> None:
    stage = make(dag("report", "0 15 * * *", start_date=datetime(2024, 5, 10, tzinfo=UTC)))

    async with running(stage, clock):
        await pass_time(clock, 2 * DAY + 3 * HOUR - 0.001)
        before = await told(store)
        await pass_time(clock, 0.001)
        after = await told(store)

    assert await store.ledger.cursor("schedule/report") == "2024-05-12T15:00:00.000000Z"
    assert before == ["2024-05-11T15:00:00"]
    assert after == ["2024-05-11T15:00:00", "2024-05-12T15:00:00"]


async def test_tick_carries_its_interval(make: Any, store: Store, clock: ManualClock) -> None:
    stage = make(dag("report", "@daily", start_date=datetime(2024, 5, 9, tzinfo=UTC)))

    async with running(stage, clock):
        pass

    [logged] = await store.log.read(0, 10)
    event: Event = logged.event
    assert event.type == "dev.tidemill.schedule.tick.v1"
    assert event.id == "report/2024-05-10T00:00:00.000000Z"
    assert event.data["interval_start"] == "2024-05-09T00:00:00.000000Z"
    assert event.data["interval_end"] == "2024-05-10T00:00:00.000000Z"


async def test_without_catchup_only_the_latest_missed_tick_is_told_once(
    make: Any, store: Store, clock: ManualClock
) -> None:
    report = dag("report", "@daily", start_date=datetime(2024, 1, 1, tzinfo=UTC))

    for _ in range(3):  # restarts
        async with running(make(report), clock):
            pass
    first = await told(store)
    clock.jump(5 * DAY)  # the process was down for days
    async with running(make(report), clock):
        await pass_time(clock, 12 * HOUR)

    assert first == ["2024-05-10T00:00:00"]
    assert await told(store) == ["2024-05-10T00:00:00", "2024-05-15T00:00:00", "2024-05-16T00:00:00"]


async def test_catchup_tells_every_missed_tick_since_start_date(
    make: Any, store: Store, clock: ManualClock
) -> None:
    start = datetime(2024, 4, 1, tzinfo=UTC)  # 948 hours before
    report = dag("report", timedelta(hours=1), start_date=start, catchup=True)

    async with running(make(report), clock):
        pass
    clock.jump(3 * HOUR)
    async with running(make(report), clock):
        pass

    ticks = await told(store)
    wanted = [start + timedelta(hours=hour) for hour in range(1, 952)]
    assert ticks == [at.isoformat().removesuffix("+00:00") for at in wanted]


async def test_catchup_is_committed_in_batches(make: Any, store: Store, clock: ManualClock) -> None:
    log = ProbedLog(store.log)
    start = datetime(2024, 4, 1, tzinfo=UTC)
    stage = make(dag("report", timedelta(hours=1), start_date=start, catchup=True), log=log)

    async with running(stage, clock):
        pass

    assert log.sizes == [500, 448]
    assert stage.status().accepted == 948


async def test_end_date_ends_the_ticks(make: Any, store: Store, clock: ManualClock) -> None:
    span = {"start_date": datetime(2024, 5, 1, tzinfo=UTC), "end_date": datetime(2024, 5, 10, tzinfo=UTC)}
    stage = make(dag("report", "@daily", **span))

    async with running(stage, clock):
        await pass_time(clock, 3 * DAY)

    assert await told(store) == ["2024-05-10T00:00:00", "2024-05-11T00:00:00"]


async def test_dag_without_start_date_begins_when_it_is_first_seen(
    make: Any, store: Store, clock: ManualClock
) -> None:
    report = dag("report", "@hourly")

    async with running(make(report), clock):
        at_first = await told(store)
    clock.jump(2.5 * HOUR)  # down over two ticks that came after it was seen
    async with running(make(report), clock):
        pass

    assert at_first == []
    assert await told(store) == ["2024-05-10T14:00:00"]


async def test_clock_that_goes_back_repeats_no_tick(make: Any, store: Store, clock: ManualClock) -> None:
    stage = make(dag("report", "@hourly", start_date=NOON))

    async with running(stage, clock):
        await pass_time(clock, 2 * HOUR)
        clock.jump(-1.5 * HOUR)
        await pass_time(clock, 3 * HOUR)

    assert await told(store) == ["2024-05-10T13:00:00", "2024-05-10T14:00:00", "2024-05-10T15:00:00"]


async def test_clock_that_goes_forward_is_noticed_within_a_slice(
    make: Any, store: Store, clock: ManualClock
) -> None:
    stage = make(dag("report", "@hourly", start_date=NOON, catchup=True))

    async with running(stage, clock):
        clock.jump(2.25 * HOUR)
        await pass_time(clock, 30)

    assert await told(store) == ["2024-05-10T13:00:00", "2024-05-10T14:00:00"]


async def test_all_dags_are_told_by_one_stage(make: Any, store: Store, clock: ManualClock) -> None:
    dags = [dag(f"report-{number}", "@hourly", start_date=NOON) for number in range(20)]
    stage = make(*dags, dag("unscheduled", None))

    async with running(stage, clock):
        await pass_time(clock, HOUR)
        status = stage.status()

    assert all([await told(store, one.dag_id) == ["2024-05-10T13:00:00"] for one in dags])
    assert (status.kind, status.state, status.accepted) == ("schedule", SourceState.LIVE, 20)
    assert status.last_event_at == to_us(NOON) + 3_600_000_000


@pytest.mark.parametrize("when", ["before", "after"])
async def test_failed_commit_is_tried_again_and_told_once(
    when: str, make: Any, store: Store, clock: ManualClock
) -> None:
    log = ProbedLog(store.log)
    log.failure = when
    stage = make(dag("report", "@daily", start_date=datetime(2024, 5, 1, tzinfo=UTC)), log=log)

    async with running(stage, clock):
        stalled = stage.status()
        log.failure = None
        await pass_time(clock, 1)
        healed = stage.status()

    assert (stalled.state, stalled.error) == (SourceState.STALLED, "told to fail")
    assert (healed.state, healed.error) == (SourceState.LIVE, "")
    assert await told(store) == ["2024-05-10T00:00:00"]


async def test_two_stages_on_one_store_tell_each_tick_once(
    make: Any, store: Store, clock: ManualClock
) -> None:
    report = dag("report", "@hourly", start_date=NOON)
    stages = [make(report), make(report)]
    tasks = [asyncio.create_task(stage.run()) for stage in stages]

    await asyncio.wait_for(clock.wait_for_planned(2), 10)
    clock.advance(30)
    for _ in range(119):
        await asyncio.sleep(0)
        await asyncio.wait_for(clock.wait_for_planned(2), 10)
        clock.advance(30)
    await asyncio.sleep(0)
    await asyncio.wait_for(clock.wait_for_planned(2), 10)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)

    assert await told(store) == ["2024-05-10T13:00:00"]
    assert sum(stage.status().accepted for stage in stages) == 1


class ProbedLog:
    """An event log that fails while told to, and remembers how many events each append had."""

    def __init__(self, log: Any) -> None:
        self._log = log
        self.failure: str | None = None
        self.sizes: list[int] = []

    async def wait_for_room(self) -> None:
        await self._log.wait_for_room()

    async def append(self, job: Append) -> list[Appended]:
        if self.failure == "before":
            raise StoreUnavailable("told to fail")
        answers: list[Appended] = await self._log.append(job)
        if self.failure == "after":
            raise StoreUnavailable("told to fail")
        self.sizes.append(len(job.events))
        return answers
