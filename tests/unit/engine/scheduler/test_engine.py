"""Scheduling seen from outside: what runs at once, what fails before it starts, and that all is given back."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.engine.checks import check_store
from tests.unit.engine.ownership import Ownership

from tidemill import dag, task
from tidemill.engine.scheduler import Scheduler
from tidemill.engine.scheduler.pool import PoolLimit
from tidemill.runs.records import Failure, TaskFailed
from tidemill.storage.shards import ALL
from tidemill.testing.faults import FailCommits
from tidemill.testing.harness import Harness, MakeHarness


class Inside:
    """Who is inside at once."""

    def __init__(self) -> None:
        self.now: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.begun: list[str] = []

    async def visit(self, name: str) -> None:
        self.begun.append(name)
        self.now[name] += 1
        self.most[name] = max(self.most[name], self.now[name])
        for _ in range(3):
            await asyncio.sleep(0)
        self.now[name] -= 1


def scheduler(harness: Harness) -> Scheduler:
    return harness._engine.scheduler


def is_unused(one: Scheduler) -> bool:
    pools = [pool for name in one.limits for pool in one.pools(name)]
    return (
        one.running == 0
        and one.waiting == 0
        and not any(one.stock.used.values())
        and not any(pool.used for pool in pools)
        and all(slots.free == slots.size for slots in one.executors.values())
    )


async def test_attempts_never_take_more_slots_of_a_pool_than_it_has(tidemill_harness: MakeHarness) -> None:
    inside = Inside()

    @task(pool="etl", pool_slots=2, retries=1, retry_delay=0)
    async def step(fails: bool) -> None:
        await inside.visit("etl")
        if fails:
            raise ValueError

    @dag
    def work() -> Any:
        return [step.override(task_id=f"t{n}")(n % 3 == 0) for n in range(10)]

    async with tidemill_harness(dags=[work], pools={"etl": 5}) as harness:
        for _ in range(3):
            await harness.start("work")
        await harness.run_until_done()

        assert inside.most["etl"] == 2
        assert len(inside.begun) == 42
        assert is_unused(scheduler(harness))
        await check_store(harness, ended=3)


async def test_max_active_per_run_limits_a_map_and_max_active_all_runs(tidemill_harness: MakeHarness) -> None:
    inside, full = Inside(), asyncio.Event()

    @task(max_active_per_run=2, max_active=3)
    async def step(run: str, n: int) -> None:
        for name in (run, "all"):
            inside.now[name] += 1
            inside.most[name] = max(inside.most[name], inside.now[name])
        if inside.now["all"] == 3:
            full.set()
        await full.wait()
        await asyncio.sleep(0)
        for name in (run, "all"):
            inside.now[name] -= 1

    @dag
    def work(run: str) -> Any:
        return step.partial(run=run).expand(n=list(range(8)))

    async with tidemill_harness(dags=[work]) as harness:
        for run in ("a", "b"):
            await harness.start("work", run=run)
        await harness.run_until_done()

        assert (inside.most["a"], inside.most["b"], inside.most["all"]) == (2, 2, 3)
        assert inside.now.total() == 0
        assert is_unused(scheduler(harness))
        await check_store(harness, ended=2)


async def test_resources_of_this_machine_are_never_oversubscribed(tidemill_harness: MakeHarness) -> None:
    inside = Inside()

    @task(cpu=1.5, memory="1GiB")
    async def step() -> None:
        await inside.visit("cpu")

    @dag
    def work() -> Any:
        return [step.override(task_id=f"t{n}")() for n in range(9)]

    async with tidemill_harness(dags=[work], resources={"cpu": 5, "memory": "64GiB"}) as harness:
        await harness.start("work")
        await harness.run_until_done()

        assert inside.most["cpu"] == 3
        assert is_unused(scheduler(harness))


async def test_task_that_asks_more_than_there_is_fails_with_the_numbers(
    tidemill_harness: MakeHarness,
) -> None:
    @task(cpu=64, retries=5)
    async def huge() -> None: ...

    @task
    async def small() -> int:
        return 1

    @dag
    def work() -> Any:
        return [huge(), small()]

    async with tidemill_harness(dags=[work], resources={"cpu": 2}) as harness:
        run_id = await harness.start("work")
        await harness.run_until_done()

        run = await harness.run(run_id)
        assert run.states == {"huge": "failed", "small": "succeeded"}
        (failure,) = [one.failure for one in run.records if isinstance(one, TaskFailed)]
        assert failure == Failure("ResourcesImpossible", "asks cpu 64, this machine has 2")
        assert is_unused(scheduler(harness))
        await check_store(harness, ended=1)


async def test_task_that_waits_longer_than_its_start_timeout_fails(tidemill_harness: MakeHarness) -> None:
    gate = asyncio.Event()

    @task(pool="one")
    async def hold() -> None:
        await gate.wait()

    @task(pool="one", start_timeout=timedelta(seconds=30), retries=3)
    async def late() -> None: ...

    @dag
    def work() -> Any:
        return [hold(), late()]

    async with tidemill_harness(dags=[work], pools={"one": 1}) as harness:
        run_id = await harness.start("work")
        await harness.run_until_idle(attempts=False)
        await harness.advance(29)
        assert (await harness.run(run_id)).states["late"] == "ready"
        await harness.advance(2)
        gate.set()
        await harness.run_until_idle()

        run = await harness.run(run_id)
        assert run.states == {"hold": "succeeded", "late": "failed"}
        (failure,) = [one.failure for one in run.records if isinstance(one, TaskFailed)]
        assert failure.error_type == "StartTimedOut"
        assert harness.clock.planned == 0
        assert is_unused(scheduler(harness))


async def test_task_that_starts_in_time_leaves_no_timer(tidemill_harness: MakeHarness) -> None:
    @task(start_timeout=timedelta(seconds=30))
    async def step() -> None: ...

    @dag
    def work() -> Any:
        return step()

    async with tidemill_harness(dags=[work]) as harness:
        run_id = await harness.start("work")
        await harness.run_until_idle()

        assert (await harness.run(run_id)).state == "succeeded"
        assert harness.clock.planned == 0


async def test_pool_changed_live_lets_in_what_it_says_from_then_on(tidemill_harness: MakeHarness) -> None:
    inside, gate = Inside(), asyncio.Event()

    @task(pool="etl")
    async def step() -> None:
        inside.now["etl"] += 1
        await gate.wait()

    @dag
    def work() -> Any:
        return [step.override(task_id=f"t{n}")() for n in range(10)]

    async with tidemill_harness(dags=[work], pools={"etl": 0}) as harness:
        await harness.start("work")
        await harness.run_until_idle(attempts=False)
        assert inside.now["etl"] == 0
        scheduler(harness).set_limit("etl", PoolLimit(slots=3))
        harness._engine.notify()
        await harness.run_until_idle(attempts=False)
        assert inside.now["etl"] == 3
        gate.set()
        await harness.run_until_idle()

        assert is_unused(scheduler(harness))


async def test_full_queue_of_a_pool_holds_back_runs_that_need_it(tidemill_harness: MakeHarness) -> None:
    gate = asyncio.Event()

    @task(pool="etl")
    async def slow() -> None:
        await gate.wait()

    @task
    async def quick() -> None: ...

    @dag(max_active_runs=None)
    def pooled() -> Any:
        return [slow.override(task_id=f"t{n}")() for n in range(5)]

    @dag
    def free() -> Any:
        return quick()

    pools = {"etl": {"slots": 1, "max_queued": 10}}
    async with tidemill_harness(dags=[pooled, free], pools=pools) as harness:
        for _ in range(20):
            await harness.start("pooled")
        await harness.run_until_idle(attempts=False)
        assert harness.live_runs == 3
        other = await harness.start("free")
        await harness.run_until_idle(attempts=False)
        assert (await harness.run(other)).state == "succeeded"
        gate.set()
        await harness.run_until_idle()

        await check_store(harness, ended=21)
        assert is_unused(scheduler(harness))


@pytest.mark.parametrize("fault", ["commits", "kill", "cancel"])
async def test_everything_is_given_back_whatever_goes_wrong(
    fault: str, tidemill_harness: MakeHarness
) -> None:
    gate = asyncio.Event()

    @task(pool="etl", cpu=1, max_active=4, max_active_per_run=2, retries=2, retry_delay=1, priority=1)
    async def step(n: int) -> None:
        await gate.wait()
        if n % 4 == 0:
            raise ValueError

    @task
    def plain() -> int:
        return 1

    @task(timeout=1, gpu=0.5, start_timeout=timedelta(hours=100))
    async def slow() -> None:
        await asyncio.Event().wait()

    @dag(max_active_tasks=5)
    def work() -> Any:
        tasks = [step.override(task_id=f"t{n}")(n) for n in range(6)]
        return [*tasks, plain(), slow()]

    settings: dict[str, Any] = {"pools": {"etl": 3}, "resources": {"cpu": 3, "gpu": 1}}
    async with tidemill_harness(dags=[work], **settings) as harness:
        runs = [await harness.start("work") for _ in range(3)]
        if fault == "commits":
            harness.faults.append(FailCommits("record.before_commit", 3))
        await harness.run_until_idle(attempts=False)
        if fault == "kill":
            await harness.kill()
            await harness.restart()
            await harness.run_until_idle(attempts=False)
        if fault == "cancel":
            await harness.cancel(runs[1])
            await harness.run_until_idle(attempts=False)
        gate.set()
        await harness.run_until_done()

        assert is_unused(scheduler(harness))
        assert harness.live_runs == 0
        await check_store(harness, ended=3)


async def test_lost_shards_give_back_what_their_tasks_had_wherever_they_stood(
    tidemill_harness: MakeHarness,
) -> None:
    """Lost while attempts run, while starts are on their way to the disk, and while they are not even decided on."""
    go = asyncio.Event()

    @task(pool="etl", cpu=0.25, max_active=9)
    async def first() -> None:
        await go.wait()

    @task(pool="etl", max_active_per_run=1)
    async def second(after: None) -> None: ...

    @dag(max_active_runs=None)
    def work() -> Any:
        return second(first())

    @dag
    def plain() -> Any:
        return second.override(pool="default", max_active_per_run=None)(None)

    settings: dict[str, Any] = {"pools": {"etl": 4}, "resources": {"cpu": 2}}
    async with tidemill_harness(dags=[work, plain], **settings) as harness:
        ownership = Ownership(harness)
        for _ in range(6):
            await harness.start("work")
        await harness.run_until_idle(attempts=False)
        assert scheduler(harness).running == 4
        ownership.hold_up()
        go.set()
        await ownership.waiting.wait()  # outcomes, and with them starts of the tasks that waited
        await harness.start("plain")
        live_runs = harness._engine._decisions.live
        while not any(live.starting for live in live_runs.values()):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)  # decided on, and not handed over
        ownership.lose(*ALL)
        ownership.way.set()
        await harness.run_until_idle()

        assert harness.live_runs == 0
        assert is_unused(scheduler(harness))
        ownership.take(*ALL, owners_between=1)
        await harness.run_until_done()
        assert is_unused(scheduler(harness))
        await check_store(harness, ended=7)
