"""DAGs as runs of their own inside of others, through the whole engine."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from tests.unit.engine.checks import check_store

from tidemill import DoNotRetry, dag, run_dag, task
from tidemill.dag.build import build
from tidemill.dag.definition import Dag
from tidemill.errors import DefinitionError
from tidemill.project.load import load
from tidemill.testing.faults import CrashAt
from tidemill.testing.harness import HarnessError, MakeHarness

CALLS: list[str] = []


@pytest.fixture(autouse=True)
def _calls() -> None:
    CALLS.clear()


class City(BaseModel):
    name: str


@task
async def greet(city: Any) -> str:
    name = city["name"] if isinstance(city, dict) else city.name
    CALLS.append(name)
    if name == "Atlantis":
        raise DoNotRetry("sunk")
    return f"hello {name}"


@task
async def show(value: Any = None) -> Any:
    return value


@task
async def hang(city: Any) -> None:
    await asyncio.Event().wait()


@dag
def reporting(city: City) -> Any:
    return greet(city)


@dag
def stuck(city: City) -> Any:
    return hang(city)


@dag
def outer(name: str) -> Any:
    return show([reporting.run(city={"name": name}), "done"])


async def test_run_inside_of_a_run_is_one_of_its_own_and_gives_its_result(
    tidemill_harness: MakeHarness,
) -> None:
    async with tidemill_harness(dags=[outer, reporting]) as harness:
        run_id = await harness.start("outer", name="Rome")
        await harness.run_until_done()

        run = await harness.run(run_id)
        (child,) = [one for one in await harness.runs() if one.dag == "reporting"]
        assert (run.state, run.result("show")) == ("succeeded", ["hello Rome", "done"])
        assert (child.state, child.hop_count, child.correlation_id) == (
            "succeeded",
            1,
            run.summary.correlation_id,
        )
        asked = await harness.store.log.get(child.position)
        assert asked is not None
        assert asked.event.data["parent"] == {"run_id": run_id, "task": "run_reporting"}
        await check_store(harness, ended=2)


async def test_failure_inside_is_a_failure_with_the_run_that_failed(tidemill_harness: MakeHarness) -> None:
    async with tidemill_harness(dags=[outer, reporting]) as harness:
        run_id = await harness.start("outer", name="Atlantis")
        await harness.run_until_done()

        run = await harness.run(run_id)
        (child,) = [one for one in await harness.runs() if one.dag == "reporting"]
        failure = run.tasks["run_reporting"].error
        assert (run.state, run.states["show"]) == ("failed", "upstream_failed")
        assert failure is not None
        assert failure.error_type == "RunFailed"
        assert child.run_id in failure.message


async def test_isolated_failure_inside_is_a_result(tidemill_harness: MakeHarness) -> None:
    @dag
    def calm(name: str) -> Any:
        return show(run_dag(reporting, {"city": {"name": name}}, on_failure="isolate"))

    async with tidemill_harness(dags=[calm, reporting]) as harness:
        run_id = await harness.start("calm", name="Atlantis")
        await harness.run_until_done()

        run = await harness.run(run_id)
        found = run.result("show")
        assert run.state == "succeeded"
        assert (found["state"], found["result"], found["error"]["tasks"][0]["message"]) == (
            "failed",
            None,
            "sunk",
        )


async def test_which_dag_runs_is_known_when_its_turn_comes(tidemill_harness: MakeHarness) -> None:
    @dag
    def other(city: City) -> Any:
        return show("other")

    @dag
    def chosen(which: str) -> Any:
        return run_dag(show(which), {"city": {"name": "Rome"}}, task_id="it")

    async with tidemill_harness(dags=[chosen, reporting, other]) as harness:
        runs = {
            which: await harness.start("chosen", which=which) for which in ("reporting", "other", "nobody")
        }
        await harness.run_until_done()

        assert (await harness.run(runs["reporting"])).result("it") == "hello Rome"
        assert (await harness.run(runs["other"])).result("it") == "other"
        failure = (await harness.run(runs["nobody"])).tasks["it"].error
        assert failure is not None
        assert (failure.error_type, failure.message) == ("UnknownDag", "there is no DAG 'nobody'")


async def test_wrong_parameters_fail_the_task_and_start_nothing(tidemill_harness: MakeHarness) -> None:
    @dag
    def wrong() -> Any:
        return reporting.run(city={"title": "Rome"})

    async with tidemill_harness(dags=[wrong, reporting]) as harness:
        run_id = await harness.start("wrong")
        await harness.run_until_done()

        failure = (await harness.run(run_id)).tasks["run_reporting"].error
        assert failure is not None
        assert failure.error_type == "InvalidParameters"
        assert "name" in failure.message
        assert [one.dag for one in await harness.runs()] == ["wrong"]
        assert await harness.dead_letters() == []


async def test_runs_that_start_themselves_come_to_an_end(tidemill_harness: MakeHarness) -> None:
    @dag
    def endless(n: int) -> Any:
        return run_dag("endless", {"n": n}, task_id="again")

    async with tidemill_harness(dags=[endless], max_hops=3) as harness:
        await harness.start("endless", n=1)
        await harness.run_until_done()

        runs = await harness.runs()
        assert [one.state for one in runs] == ["failed"] * 4
        deepest = max(runs, key=lambda one: one.hop_count)
        failure = (await harness.run(deepest.run_id)).tasks["again"].error
        assert failure is not None
        assert failure.error_type == "NestedTooDeep"


async def test_cancel_goes_down_to_the_runs_inside(tidemill_harness: MakeHarness) -> None:
    @dag
    def holding() -> Any:
        return stuck.run(city={"name": "Rome"})

    async with tidemill_harness(dags=[holding, stuck]) as harness:
        run_id = await harness.start("holding")
        await harness.run_until_idle(attempts=False)
        await harness.cancel(run_id)
        await harness.run_until_done()

        assert [one.state for one in await harness.runs()] == ["cancelled", "cancelled"]


async def test_run_inside_that_is_cancelled_fails_the_task(tidemill_harness: MakeHarness) -> None:
    @dag
    def holding() -> Any:
        return stuck.run(city={"name": "Rome"})

    async with tidemill_harness(dags=[holding, stuck]) as harness:
        run_id = await harness.start("holding")
        await harness.run_until_idle(attempts=False)
        (child,) = [one for one in await harness.runs() if one.dag == "stuck"]
        await harness.cancel(child.run_id)
        await harness.run_until_done()

        run = await harness.run(run_id)
        failure = run.tasks["run_stuck"].error
        assert run.state == "failed"
        assert failure is not None
        assert failure.error_type == "RunCancelled"


async def test_time_limit_of_a_run_inside_fails_the_task_and_the_other_run_goes_on(
    tidemill_harness: MakeHarness,
) -> None:
    @dag
    def hasty() -> Any:
        return run_dag(stuck, {"city": {"name": "Rome"}}, timeout=60)

    async with tidemill_harness(dags=[hasty, stuck]) as harness:
        run_id = await harness.start("hasty")
        await harness.run_until_idle(attempts=False)
        await harness.advance(61)
        run = await harness.run(run_id)

        failure = run.tasks["run_stuck"].error
        assert failure is not None
        assert failure.error_type == "WaitTimedOut"
        assert {one.dag: one.state for one in await harness.runs()} == {"hasty": "failed", "stuck": "running"}


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: reporting.run(town=1), "missing a required argument: 'city'"),
        (lambda: run_dag("a/b"), "DAG id 'a/b' must have"),
        (lambda: run_dag("x", on_failure="compensate"), 'on_failure must be "propagate" or "isolate"'),
        (lambda: run_dag("x", [1]), "parameters must be values by name, not list"),
    ],
)
def test_wrong_run_inside_is_refused_at_load(make: Any, told: str) -> None:
    @dag
    def wrong() -> None:
        show()
        make()

    problems = build(wrong)

    assert not isinstance(problems, Dag)
    assert any(told in one.message for one in problems), problems


@pytest.mark.parametrize("kind", ["record", "route"])
@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize("passage", range(1, 6))
async def test_nothing_is_lost_or_doubled_by_a_death_at_any_commit(
    tidemill_harness: MakeHarness, kind: str, side: str, passage: int
) -> None:
    async with tidemill_harness(dags=[outer, reporting]) as harness:
        harness.faults.append(CrashAt(f"{kind}.{side}_commit", passage))
        with suppress(HarnessError):
            await harness.start("outer", name="Rome")
            await harness.run_until_idle()
        if not harness.is_running:
            await harness.restart(faults=[])
        await harness.run_until_done()

        runs = await harness.runs()
        assert sorted(one.dag for one in runs) == ["outer", "reporting"]
        (top,) = [one for one in runs if one.dag == "outer"]
        assert (await harness.run(top.run_id)).result("show") == ["hello Rome", "done"]
        await check_store(harness, ended=2)


def test_name_of_no_dag_is_refused_when_the_project_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows" / "flow.py").write_text(
        "from tidemill import dag, run_dag\n@dag\ndef flow():\n    return run_dag('nobody')\n"
    )

    with pytest.raises(DefinitionError) as caught:
        load(tmp_path)

    assert "workflows/flow.py:4" in str(caught.value)
    assert "task 'run_nobody' starts DAG 'nobody', which is not there" in str(caught.value)


async def test_cancel_is_recorded_whole_while_other_runs_are_recorded(
    tidemill_harness: MakeHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    @dag
    def holding() -> Any:
        return stuck.run(city={"name": "Rome"})

    async with tidemill_harness(dags=[holding, stuck, reporting]) as harness:
        run_id = await harness.start("holding")
        await harness.run_until_idle(attempts=False)
        ask = harness.store.runs.request

        async def slowly(asked: str, kind: str, by: str = "") -> None:
            if by == f"run {run_id}":  # what others decided is on its way to the disk, and lands meanwhile
                for _ in range(200):
                    await asyncio.sleep(0)
            await ask(asked, kind, by)

        monkeypatch.setattr(harness.store.runs, "request", slowly)
        other = await harness.start("reporting", city={"name": "Rome"})
        await harness.cancel(run_id)
        await harness.run_until_done()

        assert (await harness.run(run_id)).state == "cancelled"
        assert (await harness.run(other)).state == "succeeded"
        await check_store(harness, ended=3)
