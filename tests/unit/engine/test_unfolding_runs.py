"""Rules, conditions, branches, maps, teardowns and callbacks, through the whole engine."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta
from typing import Any

import orjson
import pytest
from tests.unit.engine.checks import check_store

from tidemill import (
    Context,
    DoNotRetry,
    Skip,
    branch,
    chain,
    completion_of,
    dag,
    failure_of,
    short_circuit,
    switch,
    task,
    when,
)
from tidemill.dag.declaration import DagDefinition
from tidemill.runs.records import TaskStarted, TaskSucceeded, decode
from tidemill.testing.faults import CrashAt
from tidemill.testing.harness import Harness, HarnessError, MakeHarness

CALLS: list[str] = []


@pytest.fixture(autouse=True)
def _calls() -> None:
    CALLS.clear()


@task
async def numbers(n: int) -> list[int]:
    return list(range(n))


@task
async def double(x: int, factor: int = 2) -> int:
    CALLS.append(f"double {x}")
    if x == 13:
        raise DoNotRetry("unlucky")
    return x * factor


@task
async def total(xs: Any) -> int:
    return sum(x or 0 for x in xs)


@task
async def one() -> int:
    return 1


@task
async def fail() -> None:
    raise DoNotRetry("no")


@task
async def skip() -> None:
    raise Skip("nothing to do")


@task
async def show(value: Any = None) -> Any:
    return value


@task
async def name(context: Context) -> str:
    return f"{context.task_id} {context.idempotency_key.partition('/')[2]}"


@task
async def never() -> None:
    await asyncio.Event().wait()


async def ended(definition: DagDefinition, **parameters: Any) -> tuple[str, dict[str, str], dict[str, Any]]:
    """State of a run that was left alone, states of its tasks and their results."""
    async with Harness(dags=[definition]) as harness:
        run_id = await harness.start(definition.dag_id, **parameters)
        await harness.run_until_done()
        run = await harness.run(run_id)
        results = {
            name: orjson.loads(view.result) for name, view in run.tasks.items() if view.result is not None
        }
        return run.state, {name: str(view.state) for name, view in run.tasks.items()}, results


@dag
def mapped(n: int) -> Any:
    return total(double.partial(factor=3).expand(x=numbers(n)))


@pytest.mark.parametrize(("n", "expected"), [(0, 0), (1, 0), (4, 18), (12, 198)])
async def test_map_calls_the_task_for_every_item_and_reduces(n: int, expected: int) -> None:
    state, states, results = await ended(mapped, n=n)

    assert (state, results["total"]) == ("succeeded", expected)
    assert results["double"] == [3 * x for x in range(n)]
    assert sum(name.startswith("double[") for name in states) == n
    assert sorted(CALLS) == sorted(f"double {x}" for x in range(n))


async def test_map_fails_when_a_task_run_of_it_fails_and_says_which() -> None:
    async with Harness(dags=[mapped]) as harness:
        run_id = await harness.start("mapped", n=15)
        await harness.run_until_done()
        run = await harness.run(run_id)

    failure = run.tasks["double"].error
    assert failure is not None
    assert failure.error_type == "MapFailed"
    assert "1 of 15 task runs failed; the first: double[13]: DoNotRetry: unlucky" in failure.message
    assert str(run.tasks["total"].state) == "upstream_failed"
    assert str(run.tasks["double[14]"].state) == "succeeded"
    assert run.state == "failed"


@pytest.mark.parametrize(
    ("min_success", "state"), [(14, "succeeded"), (15, "failed"), (0.9, "succeeded"), (0.95, "failed")]
)
async def test_map_tolerates_as_many_failures_as_it_says(min_success: float, state: str) -> None:
    @dag
    def tolerant(n: int) -> Any:
        return total(double.override(min_success=min_success).expand(x=numbers(n)))

    found, _, results = await ended(tolerant, n=15)

    assert found == state
    if state == "succeeded":
        assert results["double"] == [None if x == 13 else 2 * x for x in range(15)]


@pytest.mark.parametrize(
    ("lists", "expected"),
    [
        ({"x": [1, 2], "factor": [10, 20, 30]}, [10, 20, 30, 20, 40, 60]),
        ({"factor": [10, 20], "x": [1, 2]}, [10, 20, 20, 40]),
        ({"x": [], "factor": [1]}, []),
    ],
)
async def test_expand_takes_every_combination_the_last_one_fastest(
    lists: dict[str, Any], expected: list[int]
) -> None:
    @dag
    def product() -> Any:
        return double.expand(**lists)

    state, _, results = await ended(product)

    assert (state, results["double"]) == ("succeeded", expected)


async def test_map_goes_side_by_side_and_over_what_a_map_made() -> None:
    @dag
    def pairs(n: int) -> Any:
        doubled = double.map(numbers(n))
        return double.map(doubled, [1, 2, 3])

    _, _, results = await ended(pairs, n=3)

    assert results["double__2"] == [0, 4, 12]


async def test_map_of_lists_of_different_length_fails_with_the_lengths() -> None:
    @dag
    def uneven(n: int) -> Any:
        return double.map(numbers(n), [1, 2])

    async with Harness(dags=[uneven]) as harness:
        run_id = await harness.start("uneven", n=3)
        await harness.run_until_done()
        failure = (await harness.run(run_id)).tasks["double"].error

    assert failure is not None
    assert failure.error_type == "MapMismatch"
    assert "x has 3, factor has 2" in failure.message


@pytest.mark.parametrize(("value", "told"), [(7, "not int"), ("text", "not str"), (None, "not null")])
async def test_map_over_what_is_no_list_fails(value: Any, told: str) -> None:
    @dag
    def odd(value: Any) -> Any:
        return double.expand(x=show(value))

    async with Harness(dags=[odd]) as harness:
        run_id = await harness.start("odd", value=value)
        await harness.run_until_done()
        failure = (await harness.run(run_id)).tasks["double"].error

    assert failure is not None
    assert failure.error_type == "NotMappable"
    assert told in failure.message


async def test_items_of_a_dict_are_pairs_and_nobody_sees_what_another_task_run_changed() -> None:
    @task
    async def change(pair: list[Any]) -> list[Any]:
        pair.append("seen")
        return pair

    @dag
    def pairs(prices: dict[str, list[int]]) -> Any:
        return change.expand(pair=prices)

    _, _, results = await ended(pairs, prices={"a": [1], "b": [2]})

    assert results["change"] == [["a", [1], "seen"], ["b", [2], "seen"]]


async def test_task_run_of_a_map_has_a_name_of_its_own() -> None:
    @task
    async def named(x: int, context: Context) -> list[str]:
        return [context.task_id, context.idempotency_key.removeprefix(context.run_id)]

    @dag
    def names() -> Any:
        return named.expand(x=[1, 2])

    _, _, results = await ended(names)

    assert results["named"] == [["named[0]", "/named[0]"], ["named[1]", "/named[1]"]]


async def test_map_longer_than_allowed_fails_before_anything_of_it_starts() -> None:
    async with Harness(dags=[mapped], max_map_length=5) as harness:
        run_id = await harness.start("mapped", n=6)
        await harness.run_until_done()
        failure = (await harness.run(run_id)).tasks["double"].error

    assert failure is not None
    assert failure.message == "it would have 6 task runs and max_map_length is 5"
    assert not CALLS


async def test_map_runs_no_more_at_once_than_its_limit() -> None:
    going, most = 0, 0
    gate = asyncio.Event()

    @task(max_active_per_run=3)
    async def slow(x: int) -> None:
        nonlocal going, most
        going += 1
        most = max(most, going)
        if going == 3:
            gate.set()
        await gate.wait()
        going -= 1

    @dag
    def limited() -> Any:
        return slow.expand(x=list(range(10)))

    state, _, _ = await ended(limited)

    assert (state, most) == ("succeeded", 3)


@branch
async def choose(n: int) -> Any:
    return {0: None, 1: "left", 2: ["left", "right"], 3: "nowhere"}[n]


@dag
def branched(n: int) -> Any:
    chosen = choose(n)
    left, right = one.override(task_id="left")(), one.override(task_id="right")()
    chosen >> [left, right]
    return show.override(trigger_rule="none_failed_min_one_success")([left, right])


@pytest.mark.parametrize(
    ("n", "left", "right", "join", "state"),
    [
        (0, "skipped", "skipped", "skipped", "succeeded"),
        (1, "succeeded", "skipped", "succeeded", "succeeded"),
        (2, "succeeded", "succeeded", "succeeded", "succeeded"),
        (3, "upstream_failed", "upstream_failed", "upstream_failed", "failed"),
    ],
)
async def test_branch_skips_what_it_did_not_choose(
    n: int, left: str, right: str, join: str, state: str
) -> None:
    found, states, results = await ended(branched, n=n)

    assert (found, states["left"], states["right"], states["show"]) == (state, left, right, join)
    if n == 1:
        assert results["show"] == [1, None]


async def test_branch_does_not_skip_what_the_chosen_task_leads_to() -> None:
    @branch
    async def first() -> str:
        return "way"

    @dag
    def shortcut() -> None:
        chosen, way, join = first(), one.override(task_id="way")(), one.override(task_id="join")()
        chosen >> [way, join]
        way >> join

    _, states, _ = await ended(shortcut)

    assert states["join"] == "succeeded"


@pytest.mark.parametrize(
    ("value", "after", "far"), [(1, "succeeded", "succeeded"), (0, "skipped", "succeeded")]
)
async def test_short_circuit_skips_what_is_below_and_leaves_what_is_further_to_its_rule(
    value: int, after: str, far: str
) -> None:
    @short_circuit
    async def goes_on(value: int) -> int:
        return value

    @dag
    def stopping(value: int) -> None:
        chain(
            goes_on(value),
            one.override(task_id="after")(),
            one.override(task_id="far", trigger_rule="all_done")(),
        )

    _, states, _ = await ended(stopping, value=value)

    assert (states["after"], states["far"]) == (after, far)


@pytest.mark.parametrize(
    ("kind", "started"), [("csv", "csv"), ("json", "json"), ("xml", "other"), (None, "other")]
)
async def test_switch_starts_what_stands_under_the_value(kind: Any, started: str) -> None:
    @dag
    def switched(kind: Any) -> None:
        found = show({"kind": kind})
        ways = {name: one.override(task_id=name)() for name in ("csv", "json", "other")}
        switch(found["kind"], {"csv": ways["csv"], "json": ways["json"]}, default=ways["other"])

    _, states, _ = await ended(switched, kind=kind)

    assert {name for name in ("csv", "json", "other") if states[name] == "succeeded"} == {started}
    assert {states[name] for name in {"csv", "json", "other"} - {started}} == {"skipped"}


@pytest.mark.parametrize(("n", "big", "even"), [(5, "succeeded", "skipped"), (2, "skipped", "succeeded")])
async def test_conditions_are_functions_and_expressions(n: int, big: str, even: str) -> None:
    @dag
    def conditional(n: int) -> None:
        found = numbers(n)
        (
            when(found, lambda rows, parameters: len(rows) == parameters["n"] > 3)
            >> one.override(task_id="big")()
        )
        when(found, "size(result) % 2 == 0") >> one.override(task_id="even")()

    _, states, _ = await ended(conditional, n=n)

    assert (states["big"], states["even"]) == (big, even)


async def test_condition_that_raises_counts_as_a_failure_and_says_so() -> None:
    @dag
    def broken() -> None:
        when(one(), lambda rows: rows["missing"]) >> one.override(task_id="below")()

    async with Harness(dags=[broken]) as harness:
        run_id = await harness.start("broken")
        await harness.run_until_done()
        below = (await harness.run(run_id)).tasks["below"]

    assert str(below.state) == "upstream_failed"
    assert below.error is not None
    assert "TypeError" in below.error.message


async def test_failure_and_completion_edges_start_what_waits_for_them() -> None:
    @dag
    def repaired() -> Any:
        bad, good = fail(), one()
        repair, unused, report = (one.override(task_id=name)() for name in ("repair", "unused", "report"))
        failure_of(bad) >> repair
        failure_of(good) >> unused
        [completion_of(bad), completion_of(good), completion_of(unused)] >> report
        return repair

    state, states, _ = await ended(repaired)

    assert (states["repair"], states["unused"], states["report"]) == ("succeeded", "skipped", "succeeded")
    assert state == "succeeded"


async def test_skip_goes_on_below_until_a_rule_stops_it() -> None:
    @dag
    def skipping() -> None:
        chain(
            skip(),
            one.override(task_id="below")(),
            one.override(task_id="anyway", trigger_rule="none_failed")(),
        )

    state, states, _ = await ended(skipping)

    assert (state, states["skip"], states["below"], states["anyway"]) == (
        "succeeded",
        "skipped",
        "skipped",
        "succeeded",
    )


async def test_callbacks_of_tasks_and_of_the_dag_are_called_and_decide_nothing() -> None:
    @dag(on_failure=name, on_success=name)
    def calling() -> None:
        fail.override(on_failure=name, on_success=name)()
        one.override(on_failure=fail, on_success=[name, fail])()

    state, states, results = await ended(calling)

    assert state == "failed"
    assert results["fail.on_failure"] == "fail.on_failure fail.on_failure"
    assert states["fail.on_success"] == "upstream_failed"
    assert (states["one.on_failure"], states["one.on_success"], states["one.on_success_2"]) == (
        "skipped",
        "succeeded",
        "failed",
    )
    assert (states["on_failure"], states["on_success"]) == ("succeeded", "skipped")


async def test_success_callbacks_of_a_dag_that_succeeds() -> None:
    @dag(on_failure=name, on_success=name)
    def fine() -> None:
        one.override(on_success=fail)()

    state, states, _ = await ended(fine)

    assert (state, states["on_failure"], states["on_success"]) == ("succeeded", "skipped", "succeeded")


@dag
def cleaned() -> Any:
    made, work = one.override(task_id="make")(), fail()
    clean = one.override(task_id="clean", teardown=made)()
    made >> work >> clean
    return work


async def test_teardown_runs_after_a_failure_and_does_not_hide_it() -> None:
    state, states, _ = await ended(cleaned)

    assert (state, states["fail"], states["clean"]) == ("failed", "failed", "succeeded")


@pytest.mark.parametrize("setup", ["make", "fail"])
async def test_teardown_runs_when_the_run_is_cancelled_if_there_is_something_to_undo(setup: str) -> None:
    @dag
    def hanging() -> None:
        made = (one if setup == "make" else fail).override(task_id="make")()
        stuck = never.override(trigger_rule="all_done")()
        clean = one.override(task_id="clean", teardown="make")()
        made >> stuck >> clean

    async with Harness(dags=[hanging]) as harness:
        run_id = await harness.start("hanging")
        await harness.run_until_idle(attempts=False)
        await harness.cancel(run_id)
        await harness.run_until_done()
        run = await harness.run(run_id)

    assert run.state == "cancelled" if setup == "make" else run.state in ("cancelled", "failed")
    assert str(run.tasks["never"].state) == "cancelled"
    assert str(run.tasks["clean"].state) == ("succeeded" if setup == "make" else "cancelled")


async def test_teardown_runs_after_a_timeout() -> None:
    @dag
    def late() -> None:
        made, stuck = one.override(task_id="make")(), never.override(timeout=timedelta(seconds=5))()
        made >> stuck >> one.override(task_id="clean", teardown=made)()

    async with Harness(dags=[late]) as harness:
        run_id = await harness.start("late")
        await harness.run_until_idle(attempts=False)
        await harness.advance(6)
        await harness.run_until_done()
        run = await harness.run(run_id)

    assert (run.state, str(run.tasks["clean"].state)) == ("failed", "succeeded")


@dag
def whole(n: int) -> Any:
    rows = numbers(n)
    doubled = double.expand(x=rows)
    when(rows, lambda found: len(found) > 1) >> one.override(task_id="many")()
    return total(doubled)


@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize("passage", range(1, 9))
async def test_run_survives_a_death_at_every_commit_and_calls_no_recorded_task_run_again(
    tidemill_harness: MakeHarness, side: str, passage: int
) -> None:
    async with tidemill_harness(dags=[whole], max_running_tasks=2) as harness:
        harness.faults.append(CrashAt(f"record.{side}_commit", passage))
        with suppress(HarnessError):
            await harness.start("whole", n=5)
            await harness.run_until_idle()
        if not harness.is_running:
            await harness.restart(faults=[])
        await harness.run_until_done()

        (listed,) = await harness.runs()
        run = await harness.run(listed.run_id)
        assert (run.state, run.result("total")) == ("succeeded", 20)
        assert str(run.tasks["many"].state) == "succeeded"
        for x in range(5):
            # An attempt that was begun on disk may not have been called before the death.
            assert 1 <= CALLS.count(f"double {x}") <= run.tasks[f"double[{x}]"].attempts <= 2
        await check_store(harness, ended=1)


async def test_retried_run_takes_over_the_task_runs_of_a_map_that_succeeded(
    tidemill_harness: MakeHarness,
) -> None:
    lucky = False

    @task
    async def careful(x: int) -> int:
        CALLS.append(f"careful {x}")
        if x == 3 and not lucky:
            raise DoNotRetry("not today")
        return x

    @dag
    def retried(n: int) -> Any:
        return total(careful.expand(x=numbers(n)))

    async with tidemill_harness(dags=[retried]) as harness:
        failed = await harness.start("retried", n=6)
        await harness.run_until_done()
        lucky = True
        again = await harness.retry(failed)
        await harness.run_until_done()

        run = await harness.run(again)
        assert (run.state, run.result("total")) == ("succeeded", 15)
        assert [CALLS.count(f"careful {x}") for x in range(6)] == [1, 1, 1, 2, 1, 1]


async def test_task_that_does_not_wait_for_all_is_given_what_was_there_when_it_was_started(
    tidemill_harness: MakeHarness,
) -> None:
    late = asyncio.Event()

    @task
    async def slow() -> str:
        await late.wait()
        return "late"

    @task(trigger_rule="one_success")
    async def first(values: list[Any]) -> list[Any]:
        return values

    @dag
    def race() -> Any:
        return first([one(), slow()])

    def hold(point: str) -> None:
        """The start of `first` is on its way to the disk: the other result comes meanwhile."""
        if point == "record.before_commit":
            late.set()

    async with tidemill_harness(dags=[race]) as harness:
        run_id = await harness.start("race")
        harness.faults.append(hold)
        await harness.run_until_done()

        run = await harness.run(run_id)
        history = [
            record for _, _, body in await harness.store.runs.history(run_id) for record in decode(body)
        ]
        names = [record.task for record in history if isinstance(record, TaskStarted | TaskSucceeded)]
        is_there = names.index("slow", names.index("slow") + 1) < names.index("first")
        assert run.result("first") == ([1, "late"] if is_there else [1, None])
