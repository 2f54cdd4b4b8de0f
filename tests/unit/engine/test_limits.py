"""How much runs at once, in which order, and that nobody waits for ever."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from tests.unit.engine.checks import check_store

from tidemill import dag, task
from tidemill.engine import backlog
from tidemill.storage import runs as stored_runs
from tidemill.testing.harness import MakeHarness


class Gauge:
    """Counts how many are inside at once, and how many there were at most."""

    def __init__(self) -> None:
        self.inside: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.order: list[str] = []
        self._changed = asyncio.Condition()

    def enter(self, name: str) -> None:
        self.inside[name] += 1
        self.most[name] = max(self.most[name], self.inside[name])
        self.order.append(name)

    async def wait_for(self, name: str, most: int) -> None:
        """Return once as many as `most` have been inside together."""
        async with self._changed:
            self._changed.notify_all()
            await self._changed.wait_for(lambda: self.most[name] >= most)

    def leave(self, name: str) -> None:
        self.inside[name] -= 1


async def test_tasks_that_may_run_at_once_do_coroutines(tidemill_harness: MakeHarness) -> None:
    meeting = asyncio.Barrier(100)

    @task
    async def meet() -> None:
        await meeting.wait()

    @dag
    def work() -> Any:
        return [meet.override(task_id=f"t{n}")() for n in range(100)]

    async with tidemill_harness(dags=[work]) as harness:
        run_id = await harness.start("work")
        await harness.run_until_idle()

        assert (await harness.run(run_id)).state == "succeeded"


async def test_tasks_that_may_run_at_once_do_threads(tidemill_harness: MakeHarness) -> None:
    meeting = threading.Barrier(8, timeout=10)

    @task
    def meet() -> None:
        meeting.wait()

    @dag
    def work() -> Any:
        return [meet.override(task_id=f"t{n}")() for n in range(8)]

    async with tidemill_harness(dags=[work], thread_workers=8) as harness:
        run_id = await harness.start("work")
        await harness.run_until_idle()

        assert (await harness.run(run_id)).state == "succeeded"


@pytest.mark.parametrize("limit", [1, 3, 16])
async def test_attempts_never_exceed_max_running_tasks_and_reach_it(
    limit: int, tidemill_harness: MakeHarness
) -> None:
    gauge = Gauge()

    @task(retries=1, retry_delay=0)
    async def step(fails: bool) -> None:
        gauge.enter("all")
        await gauge.wait_for("all", limit)
        gauge.leave("all")
        if fails:
            raise ValueError

    @dag
    def work() -> Any:
        return [step.override(task_id=f"t{n}")(not n % 3) for n in range(12)]

    async with tidemill_harness(dags=[work], max_running_tasks=limit) as harness:
        for _ in range(4):
            await harness.start("work")
        await harness.run_until_done()

        assert gauge.most["all"] == limit
        await check_store(harness, ended=4)


async def test_threads_never_exceed_their_number(tidemill_harness: MakeHarness) -> None:
    gauge, lock = Gauge(), threading.Lock()

    @task
    def step() -> None:
        with lock:
            gauge.enter("all")
        with lock:
            gauge.leave("all")

    @dag
    def work() -> Any:
        return [step.override(task_id=f"t{n}")() for n in range(40)]

    async with tidemill_harness(dags=[work], thread_workers=3) as harness:
        await harness.start("work")
        await harness.run_until_idle()

        assert gauge.most["all"] <= 3
        await check_store(harness, ended=1)


async def test_tasks_of_one_run_never_exceed_max_active_tasks_and_reach_it(
    tidemill_harness: MakeHarness,
) -> None:
    gauge = Gauge()

    @task(retries=1, retry_delay=0)
    async def step(run: str, fails: bool) -> None:
        gauge.enter(run)
        await asyncio.sleep(0)
        gauge.leave(run)
        if fails:
            raise ValueError

    @dag(max_active_tasks=2)
    def work(run: str) -> Any:
        first = [step.override(task_id=f"t{n}")(run, n == 3) for n in range(6)]
        return [step.override(task_id=f"u{n}", depends_on=first[n])(run, False) for n in range(3)]

    async with tidemill_harness(dags=[work]) as harness:
        for run in ("a", "b", "c"):
            await harness.start("work", run=run)
        await harness.run_until_done()

        assert gauge.most == {"a": 2, "b": 2, "c": 2}
        await check_store(harness, ended=3)


@pytest.mark.parametrize("limit", [1, 4])
async def test_runs_never_exceed_max_active_runs_and_start_in_order(
    limit: int, tidemill_harness: MakeHarness
) -> None:
    gauge = Gauge()

    @task
    async def begin(number: int) -> None:
        gauge.enter("runs")
        gauge.order[-1] = str(number)
        await gauge.wait_for("runs", limit)

    @task
    async def end(after: Any) -> None:
        gauge.leave("runs")

    @dag(max_active_runs=limit)
    def work(number: int) -> Any:
        return end(begin(number))

    async with tidemill_harness(dags=[work]) as harness:
        for number in range(20):
            harness.clock.advance(0.001)
            await harness.start("work", number=number)
        await harness.run_until_idle()

        assert gauge.most["runs"] == limit
        assert gauge.order == [str(number) for number in range(20)]
        await check_store(harness, ended=20)


async def test_live_runs_never_exceed_max_live_runs_and_no_dag_starves(tidemill_harness: MakeHarness) -> None:
    gauge, gate = Gauge(), asyncio.Event()

    @task
    async def hold(name: str) -> None:
        gauge.enter("all")
        gauge.order[-1] = name
        await gate.wait()
        gauge.leave("all")

    def make(name: str) -> Any:
        @dag(dag_id=name, max_active_runs=1000)
        def work() -> Any:
            return hold(name)

        return work

    async with tidemill_harness(dags=[make("many"), make("few")], max_live_runs=2) as harness:
        for _ in range(30):
            await harness.start("many")
        for _ in range(3):
            await harness.start("few")
        await harness.run_until_idle(attempts=False)
        gate.set()
        await harness.run_until_idle()

        assert gauge.most["all"] == 2
        assert max(place for place, name in enumerate(gauge.order) if name == "few") < 10
        await check_store(harness, ended=33)


async def test_tasks_start_in_the_order_in_which_they_became_ready(tidemill_harness: MakeHarness) -> None:
    order = []

    @task
    async def step(name: str, run: str, *after: Any) -> None:
        order.append(name + run)

    @dag
    def work(run: str) -> Any:
        a = step.override(task_id="a")("a", run)
        b = step.override(task_id="b")("b", run)
        below_b = step.override(task_id="below_b")("below b", run, b)
        return step.override(task_id="below_a")("below a", run, a), below_b

    async with tidemill_harness(dags=[work], max_running_tasks=1) as harness:
        await harness.start("work", run="1")
        await harness.run_until_idle()

        assert order == ["a1", "b1", "below a1", "below b1"]


Patch = Callable[[int, int, int], None]


@pytest.fixture
def bounds(monkeypatch: pytest.MonkeyPatch) -> Patch:
    """Sets how many queued runs are held per DAG, read per page, and handed over in memory."""

    def patch(held: int, page: int, handed: int) -> None:
        monkeypatch.setattr(backlog, "_HELD", held)
        monkeypatch.setattr(backlog, "_PAGE", page)
        monkeypatch.setattr(stored_runs, "_HANDED_RUNS", handed)

    return patch


@pytest.mark.parametrize(("held", "page", "handed"), [(3, 2, 1000), (1000, 2, 5), (1, 1, 1), (4, 1000, 7)])
async def test_backlog_beyond_memory_starts_every_run_exactly_once(
    bounds: Patch, held: int, page: int, handed: int, tidemill_harness: MakeHarness
) -> None:
    bounds(held, page, handed)
    begun: Counter[str] = Counter()

    @task
    async def step(name: str) -> None:
        begun[name] += 1

    def make(name: str, limit: int) -> Any:
        @dag(dag_id=name, max_active_runs=limit)
        def work(number: int) -> Any:
            return step(number)  # type: ignore[arg-type]

        return work

    dags = [make("one", 1), make("three", 3)]
    async with tidemill_harness(dags=dags) as harness:
        for number in range(60):
            await harness.start("one" if number % 2 else "three", number=number)
            if number % 20 == 19:
                await harness.run_until_idle(attempts=False)
        await harness.run_until_idle()

        assert begun == dict.fromkeys(range(60), 1)
        await check_store(harness, ended=60)


async def test_backlog_found_at_the_start_begins_once_beside_what_is_handed_over(
    bounds: Patch, tidemill_harness: MakeHarness
) -> None:
    bounds(3, 2, 5)
    gate = asyncio.Event()
    begun: Counter[int] = Counter()

    @task
    async def step(number: int) -> None:
        begun[number] += 1
        await gate.wait()

    @dag(max_active_runs=2)
    def work(number: int) -> Any:
        return step(number)

    async with tidemill_harness(dags=[work]) as harness:
        for number in range(20):
            await harness.start("work", number=number)
        await harness.run_until_idle(attempts=False)
        assert sum(begun.values()) == 2
        await harness.restart()
        for number in range(20, 40):
            await harness.start("work", number=number)
        gate.set()
        await harness.run_until_idle()

        assert set(begun) == set(range(40))
        assert sum(begun.values()) == 42
        await check_store(harness, ended=40)
