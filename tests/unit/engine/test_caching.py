"""Results that are used again: what counts as the same code and inputs, when they expire, and what a death leaves."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from tests.unit.engine.checks import check_store

from tidemill import Context, dag, task
from tidemill.dag.build import build
from tidemill.dag.policy import Cache
from tidemill.runs.records import ResultFrom
from tidemill.testing.faults import CrashAt, FailCommits
from tidemill.testing.harness import Harness, HarnessError, MakeHarness


class Doubling:
    """A DAG whose task doubles a number, and remembers it."""

    def __init__(self, cache: Any = True) -> None:
        self.calls: Counter[Any] = Counter()

        @task(cache=cache)
        async def double(n: int) -> int:
            self.calls[n] += 1
            return n * 2

        @task
        async def after(n: int) -> int:
            return n + 1

        @dag
        def flow(x: int) -> Any:
            return after(double(x))

        self.flow = flow


async def finished(harness: Harness, name: str = "flow", **parameters: Any) -> Any:
    """A run that was asked for, and has ended."""
    asked = await harness.start(name, **parameters)
    await harness.run_until_idle()
    return await harness.run(asked)


async def test_second_run_with_the_same_inputs_uses_the_result_and_says_whose(
    tidemill_harness: MakeHarness,
) -> None:
    made = Doubling()
    async with tidemill_harness(dags=[made.flow]) as harness:
        first = await finished(harness, x=4)
        second = await finished(harness, x=4)
        other = await finished(harness, x=5)

        assert dict(made.calls) == {4: 1, 5: 1}
        assert (second.result("double"), second.result("after")) == (8, 9)
        cached = second.tasks["double"]
        assert (cached.attempts, cached.reused, cached.reused_from) == (0, "cached", first.summary.run_id)
        assert other.tasks["double"].reused == ""
        assert ResultFrom("double", "cached", first.summary.run_id, "") in second.records
        await check_store(harness, ended=3)


async def test_result_older_than_its_age_is_made_again(tidemill_harness: MakeHarness) -> None:
    made = Doubling(timedelta(hours=1))
    async with tidemill_harness(dags=[made.flow]) as harness:
        await finished(harness, x=4)
        await harness.advance(3599)
        await finished(harness, x=4)
        assert made.calls[4] == 1

        await harness.advance(1)
        await finished(harness, x=4)

        assert made.calls[4] == 2
        await finished(harness, x=4)
        assert made.calls[4] == 2  # the new result counts from when it was made


async def test_other_version_of_the_cache_misses(tidemill_harness: MakeHarness) -> None:
    old, new = Doubling(Cache(version="1")), Doubling(Cache(version="2"))
    async with tidemill_harness(dags=[old.flow]) as harness:
        await finished(harness, x=4)
        await harness.restart(dags=[new.flow])

        run = await finished(harness, x=4)

        assert run.tasks["double"].reused == ""


async def test_cache_is_there_after_a_restart(tidemill_harness: MakeHarness) -> None:
    made = Doubling()
    async with tidemill_harness(dags=[made.flow]) as harness:
        await finished(harness, x=4)
        await harness.restart()

        run = await finished(harness, x=4)

        assert (made.calls[4], run.tasks["double"].reused) == (1, "cached")


async def test_failed_attempt_is_not_remembered(tidemill_harness: MakeHarness) -> None:
    calls = 0

    @task(cache=True, retries=1, retry_delay=5)
    async def shaky(n: int) -> int:
        nonlocal calls
        calls += 1
        if calls in (1, 2, 3):
            raise ValueError
        return n

    @dag
    def flow(x: int) -> Any:
        return shaky(x)

    async with tidemill_harness(dags=[flow]) as harness:
        for _ in range(3):
            await harness.start("flow", x=1)
            await harness.run_until_done()

        states = [(await harness.run(run.run_id)).state for run in await harness.runs()]
        assert sorted(states) == ["failed", "succeeded", "succeeded"]
        assert calls == 4


async def test_items_of_a_map_are_looked_up_one_by_one(tidemill_harness: MakeHarness) -> None:
    calls: Counter[int] = Counter()

    @task(cache=True)
    async def load(n: int, factor: int) -> int:
        calls[n] += 1
        return n * factor

    @dag
    def flow(values: list[int]) -> Any:
        return load.partial(factor=10).expand(n=values)

    async with tidemill_harness(dags=[flow]) as harness:
        await finished(harness, values=[1, 2, 3])
        run = await finished(harness, values=[3, 4, 1])

        assert run.result("load") == [30, 40, 10]
        assert dict(calls) == {1: 1, 2: 1, 3: 1, 4: 1}
        await check_store(harness, ended=2)


async def test_inputs_that_are_no_json_make_a_task_that_is_not_remembered(
    tidemill_harness: MakeHarness,
) -> None:
    calls = 0
    opaque = object()

    @task(cache=True)
    async def take(value: Any) -> int:
        nonlocal calls
        calls += 1
        return calls

    @dag
    def flow() -> Any:
        return take(opaque)

    async with tidemill_harness(dags=[flow]) as harness:
        await finished(harness)
        await finished(harness)

        assert calls == 2


async def test_equal_inputs_are_equal_however_they_are_passed(tidemill_harness: MakeHarness) -> None:
    calls = 0

    @task(cache=True)
    async def add(a: Decimal, b: int = 2) -> int:
        nonlocal calls
        calls += 1
        return b

    @dag
    def flow() -> Any:
        first = add(Decimal("1.0"), 2)
        second = add.override(task_id="second", depends_on=[first])(b=2, a=Decimal("1.0"))
        third = add.override(task_id="third", depends_on=[second])(Decimal("1.0"))
        add.override(task_id="fourth", depends_on=[third])(Decimal("1.00"))

    async with tidemill_harness(dags=[flow]) as harness:
        run = await finished(harness)

        assert calls == 2
        assert [one.reused for one in run.tasks.values()] == ["", "cached", "cached", ""]


def test_task_that_asks_for_its_context_is_refused_with_a_cache() -> None:
    @task(cache=True)
    async def look(context: Context) -> None: ...

    @dag
    def flow() -> Any:
        look()

    problems = build(flow)

    assert isinstance(problems, list)
    assert any("cache= is for tasks whose inputs are all arguments" in str(one) for one in problems)


async def test_cancelled_run_gets_nothing_from_the_cache(tidemill_harness: MakeHarness) -> None:
    made = Doubling()
    async with tidemill_harness(dags=[made.flow]) as harness:
        await finished(harness, x=4)
        asked = await harness.start("flow", x=4)
        await harness.cancel(asked)
        await harness.run_until_idle()

        run = await harness.run(asked)
        assert run.state in ("cancelled", "succeeded")
        await check_store(harness, ended=2)


@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize("passage", [1, 2, 3, 4])
async def test_cache_agrees_with_the_histories_after_a_death_at_every_commit_point(
    tidemill_harness: MakeHarness, side: str, passage: int
) -> None:
    made = Doubling()
    async with tidemill_harness(dags=[made.flow]) as harness:
        harness.faults.append(CrashAt(f"record.{side}_commit", passage))
        with suppress(HarnessError):
            await harness.start("flow", x=4)
            await harness.run_until_idle()
        if not harness.is_running:
            await harness.restart(faults=[])
            await harness.run_until_idle()

        harness.faults.clear()
        listed = await harness.store.cache.list(limit=10)
        (run,) = await harness.runs()
        assert [(one.run_id, one.task) for one in listed] == [(run.run_id, "double")]
        again = await finished(harness, x=4)
        assert again.tasks["double"].reused == "cached"
        assert made.calls[4] <= 2
        await check_store(harness, ended=2)


async def test_commits_that_fail_leave_the_cache_with_what_was_recorded(
    tidemill_harness: MakeHarness,
) -> None:
    made = Doubling()
    async with tidemill_harness(dags=[made.flow]) as harness:
        harness.faults.append(FailCommits("record.before_commit", 3))
        await harness.start("flow", x=4)
        await harness.run_until_done()

        again = await finished(harness, x=4)

        assert (made.calls[4], again.tasks["double"].reused) == (1, "cached")


async def test_listed_results_are_cleared_by_task(tidemill_harness: MakeHarness) -> None:
    made = Doubling()
    async with tidemill_harness(dags=[made.flow]) as harness:
        await finished(harness, x=4)
        await finished(harness, x=5)
        cache = harness.store.cache

        assert await cache.clear(dag="flow", task="after") == 0
        assert len(await cache.list(limit=10)) == 2
        assert await cache.clear(dag="flow", task="double") == 2

        assert await cache.list(limit=10) == []
        await finished(harness, x=4)
        assert made.calls[4] == 2
