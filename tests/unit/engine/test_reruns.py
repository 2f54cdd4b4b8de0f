"""Runs that are made again: what is carried over, what is called anew, and what dies in between."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from typing import Any

import pytest
from tests.unit.engine.checks import check_store
from tests.unit.engine.reruns import Chain

from tidemill import dag, task
from tidemill.runs.records import ResultFrom
from tidemill.runs.rerun import Plan
from tidemill.testing.faults import CrashAt
from tidemill.testing.harness import HarnessError, MakeHarness


async def test_rerun_from_a_task_calls_it_and_everything_below(tidemill_harness: MakeHarness) -> None:
    chain = Chain()
    async with tidemill_harness(dags=[chain.flow]) as harness:
        first = await harness.start("flow", x=3)
        await harness.run_until_idle()
        chain.taken()

        again = await harness.rerun(first, Plan(from_tasks=["b"]))
        await harness.run_until_idle()

        run = await harness.run(again)
        assert chain.taken() == {"b": 1, "c": 1}
        assert (run.state, run.result("c")) == ("succeeded", 40)
        assert {name: one.reused for name, one in run.tasks.items()} == {
            "a": "carried",
            "b": "",
            "c": "",
            "side": "carried",
        }
        await check_store(harness, ended=2)


@pytest.mark.parametrize(
    ("plan", "called"),
    [
        (Plan(), {"a": 1, "b": 1, "c": 1, "side": 1}),
        (Plan(only=["b"]), {"b": 1}),
        (Plan(only=["b"], with_downstream=True), {"b": 1, "c": 1}),
        (Plan(only=["b", "side"]), {"b": 1, "side": 1}),
        (Plan(failed=True), {}),
        (Plan(from_tasks=["c"], only=["a"]), {"a": 1, "c": 1}),
        (Plan(edits={"b": 7}), {"c": 1}),
    ],
)
async def test_rerun_calls_what_its_plan_says(
    tidemill_harness: MakeHarness, plan: Plan, called: dict[str, int]
) -> None:
    chain = Chain()
    async with tidemill_harness(dags=[chain.flow]) as harness:
        first = await harness.start("flow", x=3)
        await harness.run_until_idle()
        chain.taken()

        again = await harness.rerun(first, plan)
        await harness.run_until_idle()

        assert chain.taken() == called
        assert (await harness.run(again)).state == "succeeded"
        await check_store(harness, ended=2)


async def test_edited_result_is_what_the_tasks_below_get_and_says_who_wrote_it(
    tidemill_harness: MakeHarness,
) -> None:
    chain = Chain()
    async with tidemill_harness(dags=[chain.flow]) as harness:
        first = await harness.start("flow", x=3)
        await harness.run_until_idle()

        again = await harness.rerun(first, Plan(edits={"b": 7}))
        await harness.run_until_idle()

        run = await harness.run(again)
        edited = run.tasks["b"]
        assert (edited.reused, edited.reused_from, edited.edited_by) == ("edited", first, "test")
        assert (run.result("b"), run.result("c")) == (7, 70)
        assert [one for one in run.records if isinstance(one, ResultFrom)] == [
            ResultFrom("b", "edited", first, "test")
        ]


async def test_other_parameters_carry_nothing_over_but_what_was_asked_for(
    tidemill_harness: MakeHarness,
) -> None:
    chain = Chain()
    async with tidemill_harness(dags=[chain.flow]) as harness:
        first = await harness.start("flow", x=3)
        await harness.run_until_idle()
        chain.taken()

        anew = await harness.rerun(first, Plan(changed=["x"]), parameters={"x": 5})
        await harness.run_until_idle()
        every = chain.taken()
        kept = await harness.rerun(first, Plan(changed=["x"], from_tasks=["b"]), parameters={"x": 5})
        await harness.run_until_idle()

        assert every == {"a": 1, "b": 1, "c": 1, "side": 1}
        assert (await harness.run(anew)).result("c") == 60
        assert chain.taken() == {"b": 1, "c": 1}
        assert (await harness.run(kept)).result("c") == 40


async def test_rerun_of_what_failed_repeats_nothing_that_succeeded(tidemill_harness: MakeHarness) -> None:
    chain = Chain()
    chain.broken = {"c"}
    async with tidemill_harness(dags=[chain.flow]) as harness:
        first = await harness.start("flow", x=3)
        await harness.run_until_idle()
        chain.taken()
        chain.broken = set()

        again = await harness.rerun(first, Plan(failed=True))
        await harness.run_until_idle()

        assert chain.taken() == {"c": 1}
        assert (await harness.run(again)).result("c") == 40


async def test_task_run_of_a_map_is_made_again_alone(tidemill_harness: MakeHarness) -> None:
    calls: Counter[Any] = Counter()

    @task
    async def load(n: int) -> int:
        calls[n] += 1
        return n * 10 + calls[n]

    @task
    async def total(values: list[int]) -> int:
        calls["total"] += 1
        return sum(values)

    @dag
    def flow() -> Any:
        return total(load.expand(n=[1, 2, 3]))

    async with tidemill_harness(dags=[flow]) as harness:
        first = await harness.start("flow")
        await harness.run_until_idle()

        again = await harness.rerun(first, Plan(from_tasks=["load[1]"]))
        await harness.run_until_idle()

        run = await harness.run(again)
        assert dict(calls) == {1: 1, 2: 2, 3: 1, "total": 2}
        assert (run.result("load"), run.result("total")) == ([11, 22, 31], 64)
        assert [run.tasks[f"load[{place}]"].reused for place in range(3)] == ["carried", "", "carried"]
        await check_store(harness, ended=2)


async def test_rerun_ends_on_the_version_that_the_earlier_run_began_with(
    tidemill_harness: MakeHarness,
) -> None:
    old = Chain()

    @task
    async def extra() -> None:
        pass

    @dag(dag_id="flow")
    def newer(x: int) -> Any:
        extra()

    async with tidemill_harness(dags=[old.flow]) as harness:
        first = await harness.start("flow", x=3)
        await harness.run_until_idle()
        version = (await harness.run(first)).summary.version
        await harness.kill()
        await harness.restart(dags=[newer])

        recorded = await harness.rerun(first, Plan(), version=version)
        current = await harness.rerun(first, Plan())
        await harness.run_until_idle()

        # Without its source in the store the old version cannot run: that is said, and nothing else is made of it.
        assert (await harness.run(recorded)).summary.version == version
        moved = await harness.run(current)
        assert moved.summary.version != version
        assert moved.states == {"extra": "succeeded"}


@pytest.mark.parametrize("point", ["append", "route", "record"])
@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize("passage", [1, 2, 3])
async def test_rerun_survives_death_at_every_commit_point(
    tidemill_harness: MakeHarness, point: str, side: str, passage: int
) -> None:
    chain = Chain()
    async with tidemill_harness(dags=[chain.flow]) as harness:
        first = await harness.start("flow", x=3)
        await harness.run_until_idle()
        chain.taken()
        harness.faults.append(CrashAt(f"{point}.{side}_commit", passage))

        with suppress(HarnessError):  # the process crashed before it answered
            await harness.rerun(first, Plan(only=["b"], edits={"a": 5}))
            await harness.run_until_idle()
        if not harness.is_running:
            await harness.restart(faults=[])
            await harness.run_until_idle()

        runs = await harness.runs()
        assert set(chain.taken()) <= {"b", "c"}
        for made in (one for one in runs if one.trigger == "retry"):
            again = await harness.run(made.run_id)
            assert (again.state, again.result("a"), again.result("b")) == ("succeeded", 5, 6)
            assert again.tasks["side"].reused == "carried"
        await check_store(harness, ended=len(runs))
