"""Cancelling runs in every state."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from tests.unit.engine.checks import check_store

from tidemill import dag, task
from tidemill.testing.faults import FailCommits
from tidemill.testing.harness import MakeHarness


@task
async def hang(*after: Any) -> None:
    await asyncio.Event().wait()


@task
async def quick(*after: Any) -> int:
    return 1


@task(retries=5, retry_delay=600)
async def fail(*after: Any) -> None:
    raise ValueError


async def test_running_run_is_cancelled_with_everything_in_it(tidemill_harness: MakeHarness) -> None:
    @dag
    def work() -> Any:
        done = quick()
        return [hang(done), quick.override(task_id="below")(hang.override(task_id="other")(done)), fail()]

    async with tidemill_harness(dags=[work]) as harness:
        run_id = await harness.start("work")
        await harness.run_until_idle(attempts=False)
        await harness.cancel(run_id)
        await harness.run_until_idle()

        run = await harness.run(run_id)
        assert run.state == "cancelled"
        assert run.states == {
            "quick": "succeeded",
            "hang": "cancelled",
            "other": "cancelled",
            "below": "cancelled",
            "fail": "cancelled",
        }
        assert harness.live_runs == 0
        assert harness.clock.planned == 0, "the retry's timer"
        assert await harness.store.runs.requests() == []
        await check_store(harness, ended=1)


async def test_queued_run_is_cancelled_before_it_begins_and_takes_nobodys_turn(
    tidemill_harness: MakeHarness,
) -> None:
    begun = []
    gate = asyncio.Event()

    @task
    async def step(number: int) -> None:
        begun.append(number)
        await gate.wait()

    @dag(max_active_runs=1)
    def work(number: int) -> Any:
        return step(number)

    async with tidemill_harness(dags=[work]) as harness:
        runs = [await harness.start("work", number=number) for number in range(4)]
        await harness.run_until_idle(attempts=False)
        first = begun[0]
        waiting = [number for number in range(4) if number != first]
        await harness.cancel(runs[waiting[1]])
        await harness.run_until_idle(attempts=False)
        cancelled = await harness.run(runs[waiting[1]])
        assert (cancelled.state, cancelled.summary.started_at) == ("cancelled", None)
        gate.set()
        await harness.run_until_idle()

        assert sorted(begun) == sorted({first, waiting[0], waiting[2]})
        await check_store(harness, ended=4)


@pytest.mark.parametrize("turns", range(12))
async def test_run_that_is_cancelled_before_the_engine_knows_of_it_never_begins(
    tidemill_harness: MakeHarness, turns: int
) -> None:
    begun = []

    @task
    async def step(number: int) -> None:
        begun.append(number)

    @dag
    def work(number: int) -> Any:
        return step(number)

    async with tidemill_harness(dags=[work]) as harness:
        run_id = await harness.start("work", number=1)
        asked = asyncio.ensure_future(harness.cancel(run_id))
        for _ in range(turns):
            await asyncio.sleep(0)
        await asked
        other = await harness.start("work", number=2)
        await harness.run_until_idle()

        run = await harness.run(run_id)
        assert run.state in ("cancelled", "succeeded")
        assert begun.count(1) == (run.tasks["step"].attempts if run.state == "succeeded" else 0)
        assert (await harness.run(other)).state == "succeeded"
        await check_store(harness, ended=2)


async def test_queued_run_of_a_version_nobody_has_is_cancelled_too(tidemill_harness: MakeHarness) -> None:
    gate = asyncio.Event()

    @task
    async def step() -> None:
        await gate.wait()

    @dag(max_active_runs=1)
    def work() -> Any:
        return step()

    @dag(dag_id="work", max_active_runs=1)
    def changed() -> Any:
        return step.override(task_id="other")()

    async with tidemill_harness(dags=[work]) as harness:
        runs = [await harness.start("work") for _ in range(2)]
        await harness.run_until_idle(attempts=False)
        (queued,) = [run for run in runs if (await harness.run(run)).state == "queued"]
        await harness.cancel(queued)
        await harness.restart(dags=[changed])
        await harness.run_until_idle(attempts=False)

        assert (await harness.run(queued)).state == "cancelled"
        await check_store(harness, ended=2)


async def test_cancelling_what_has_ended_or_never_was_changes_nothing(tidemill_harness: MakeHarness) -> None:
    @dag
    def work() -> Any:
        return quick()

    async with tidemill_harness(dags=[work]) as harness:
        run_id = await harness.start("work")
        await harness.run_until_idle()
        await harness.cancel(run_id)
        await harness.cancel("nobody")
        await harness.run_until_idle()

        assert (await harness.run(run_id)).state == "succeeded"
        assert await harness.store.runs.requests() == []
        await check_store(harness, ended=1)


async def test_cancelling_twice_ends_the_run_once(tidemill_harness: MakeHarness) -> None:
    @dag
    def work() -> Any:
        return hang()

    async with tidemill_harness(dags=[work]) as harness:
        run_id = await harness.start("work")
        await harness.run_until_idle(attempts=False)
        await asyncio.gather(*(harness.cancel(run_id) for _ in range(5)))
        await harness.run_until_idle()

        assert (await harness.run(run_id)).state == "cancelled"
        await check_store(harness, ended=1)


async def test_cancelled_run_waits_for_a_task_that_does_not_stop_at_once(
    tidemill_harness: MakeHarness,
) -> None:
    go_on = asyncio.Event()

    @task
    async def stubborn() -> int:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await go_on.wait()
        return 7

    @dag
    def work() -> Any:
        return quick(stubborn())

    async with tidemill_harness(dags=[work]) as harness:
        run_id = await harness.start("work")
        await harness.run_until_idle(attempts=False)
        await harness.cancel(run_id)
        await harness.run_until_idle(attempts=False)
        assert (await harness.run(run_id)).state == "running"
        go_on.set()
        await harness.run_until_idle()

        run = await harness.run(run_id)
        assert (run.state, run.states) == ("cancelled", {"stubborn": "succeeded", "quick": "cancelled"})
        assert run.result("stubborn") == 7


async def test_cancelling_a_plain_function_frees_its_slot(tidemill_harness: MakeHarness) -> None:
    go_on, calls = threading.Event(), []

    @task
    def block() -> None:
        calls.append(1)
        go_on.wait(10)

    @dag
    def work() -> Any:
        return block()

    async with tidemill_harness(dags=[work], thread_workers=2) as harness:
        runs = [await harness.start("work") for _ in range(2)]
        await harness.run_until_idle(attempts=False)
        for run in runs:
            await harness.cancel(run)
        await harness.run_until_idle()
        go_on.set()
        again = await harness.start("work")
        await harness.run_until_idle()

        assert [(await harness.run(run)).state for run in runs] == ["cancelled", "cancelled"]
        assert (await harness.run(again)).state == "succeeded"


# The request itself is a statement too; its answer is the second one.
@pytest.mark.parametrize(
    ("point", "n"), [("record.before_commit", 1), ("record.after_commit", 1), ("statement.before_commit", 2)]
)
async def test_cancel_request_survives_a_crash_before_it_is_carried_out(
    tidemill_harness: MakeHarness, point: str, n: int
) -> None:
    @dag
    def work() -> Any:
        return hang()

    async with tidemill_harness(dags=[work]) as harness:
        run_id = await harness.start("work")
        await harness.run_until_idle(attempts=False)
        harness.crash_at(point, n)
        await harness.cancel(run_id)
        await harness.run_until_idle()
        assert not harness.is_running
        await harness.restart()
        await harness.run_until_idle()

        assert (await harness.run(run_id)).state == "cancelled"
        assert await harness.store.runs.requests() == []
        await check_store(harness, ended=1)


async def test_attempt_that_is_cancelled_while_its_start_is_on_its_way_to_the_disk_never_begins(
    tidemill_harness: MakeHarness,
) -> None:
    calls = []

    @task
    async def step() -> None:
        calls.append(1)

    @dag
    def work() -> Any:
        return step()

    async with tidemill_harness(dags=[work]) as harness:
        harness.faults.append(FailCommits("record.before_commit", 2))
        run_id = await harness.start("work")
        await harness.run_until_idle()
        await harness.cancel(run_id)
        await harness.advance(10)

        assert calls == []
        assert (await harness.run(run_id)).states == {"step": "cancelled"}
        await check_store(harness, ended=1)
