"""One run, its tasks and their attempts, from the event to the completion event, under virtual time."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest
from tests.unit.engine.checks import check_store

from tidemill import Context, DoNotRetry, RetryAfter, dag, task
from tidemill.testing.harness import MakeHarness


async def test_run_goes_from_request_to_completion_event(tidemill_harness: MakeHarness) -> None:
    @task
    async def double(number: int) -> int:
        return number * 2

    @task
    def add(left: int, right: int) -> int:
        return left + right

    @dag
    def sums(number: int = 1) -> Any:
        first = double(number)
        return {"sum": add(first, double.override(task_id="again")(first)), "of": number}

    async with tidemill_harness(dags=[sums]) as harness:
        run_id = await harness.start("sums", number=5)
        await harness.run_until_idle()

        run = await harness.run(run_id)
        assert run.states == {"double": "succeeded", "again": "succeeded", "add": "succeeded"}
        assert run.result("add") == 30
        requested, completed = await harness.events()
        assert completed.type == "dev.tidemill.run.succeeded.v1"
        assert completed.data["result"] == {"sum": 30, "of": 5}
        assert completed.data["parameters"] == {"number": 5}
        assert completed.extensions["hopcount"] == 1
        assert completed.extensions["causationid"] == requested.id
        await check_store(harness, ended=1)


async def test_failed_task_is_tried_again_when_its_time_has_come_and_not_before(
    tidemill_harness: MakeHarness,
) -> None:
    calls = []

    @task(retries=2, retry_delay=10)
    async def flaky() -> str:
        calls.append(harness.clock.now_us())
        if len(calls) < 3:
            raise ValueError("not yet")
        return "done"

    @dag
    def work() -> Any:
        return flaky()

    async with tidemill_harness(dags=[work]) as harness:
        run_id = await harness.start("work")
        await harness.run_until_idle()
        due_at = (await harness.run(run_id)).tasks["flaky"].retry_at
        assert due_at is not None
        wait = (due_at - harness.clock.now_us()) / 1e6
        assert 9 <= wait <= 11

        await harness.advance(wait - 0.000_002)
        assert len(calls) == 1
        await harness.advance(0.000_002)
        assert len(calls) == 2
        assert calls[1] >= due_at

        await harness.run_until_done()
        run = await harness.run(run_id)
        assert (run.state, run.tasks["flaky"].attempts, run.result("flaky")) == ("succeeded", 3, "done")
        await check_store(harness, ended=1)


@pytest.mark.parametrize("jump", [86_400, -86_400])
async def test_wall_clock_that_jumps_neither_hurries_nor_stops_a_retry(
    tidemill_harness: MakeHarness, jump: int
) -> None:
    calls = []

    @task(retries=1, retry_delay=10)
    async def flaky() -> None:
        calls.append(1)
        raise ValueError

    @dag
    def work() -> Any:
        return flaky()

    async with tidemill_harness(dags=[work]) as harness:
        await harness.start("work")
        await harness.run_until_idle()
        harness.clock.jump(jump)
        await harness.advance(8)
        assert len(calls) == 1
        await harness.advance(4)
        assert len(calls) == 2
        await check_store(harness, ended=1)


async def test_task_decides_about_its_own_retries(tidemill_harness: MakeHarness) -> None:
    @task(retries=3)
    async def patient(context: Context) -> int:
        if context.attempt == 1:
            raise RetryAfter(3600)
        return context.attempt

    @task(retries=3)
    async def hopeless() -> None:
        raise DoNotRetry("never")

    @task(retries=1)
    async def endless(context: Context) -> None:
        if context.attempt == 1:
            raise RetryAfter(math.inf)

    @task(retries=1)
    async def backwards(context: Context) -> None:
        if context.attempt == 1:
            raise RetryAfter(-math.inf)

    @dag
    def work() -> Any:
        return [patient(), hopeless(), endless(), backwards()]

    async with tidemill_harness(dags=[work]) as harness:
        run_id = await harness.start("work")
        await harness.advance(3599.9)
        states = (await harness.run(run_id)).states
        assert states == {
            "patient": "retrying",
            "hopeless": "failed",
            "endless": "retrying",
            "backwards": "succeeded",
        }

        await harness.advance(0.1)
        assert (await harness.run(run_id)).result("patient") == 2
        await harness.run_until_done(limit=1e9)
        assert (await harness.run(run_id)).state == "failed"
        await check_store(harness, ended=1)


async def test_attempt_that_takes_too_long_is_tried_again(tidemill_harness: MakeHarness) -> None:
    calls = []

    @task(timeout=60, retries=1, retry_delay=1)
    async def slow() -> int:
        calls.append(1)
        if len(calls) == 1:
            await asyncio.Event().wait()
        return len(calls)

    @dag
    def work() -> Any:
        return slow()

    async with tidemill_harness(dags=[work]) as harness:
        run_id = await harness.start("work")
        await harness.advance(59.9)
        assert (await harness.run(run_id)).states == {"slow": "running"}
        await harness.advance(0.1)
        run = await harness.run(run_id)
        assert run.states == {"slow": "retrying"}
        assert run.tasks["slow"].error is not None
        assert run.tasks["slow"].error.error_type == "TaskTimedOut"

        await harness.run_until_done()
        assert (await harness.run(run_id)).result("slow") == 2


async def test_failure_is_contained(tidemill_harness: MakeHarness) -> None:
    ran = []

    @task
    async def good(name: str, *after: Any) -> str:
        ran.append(name)
        return name

    @task
    async def bad() -> None:
        raise ValueError("broken")

    @dag
    def work() -> Any:
        left = good.override(task_id="left")("left")
        middle = bad()
        good.override(task_id="below")("below", middle, left)
        return good.override(task_id="right")("right", left)

    async with tidemill_harness(dags=[work]) as harness:
        run_id = await harness.start("work")
        await harness.run_until_idle()

        run = await harness.run(run_id)
        assert run.state == "failed"
        assert run.states == {
            "left": "succeeded",
            "bad": "failed",
            "below": "upstream_failed",
            "right": "succeeded",
        }
        assert sorted(ran) == ["left", "right"]
        (completed,) = await harness.events(type="dev.tidemill.run.failed.v1")
        assert completed.data["result"] is None
        assert completed.data["error"] == {
            "reason": "task_failed",
            "tasks": [{"task": "bad", "type": "ValueError", "message": "broken"}],
        }


async def test_tasks_cannot_change_what_their_siblings_see(tidemill_harness: MakeHarness) -> None:
    seen = []

    @task
    async def make() -> dict[str, list[int]]:
        return {"list": [1]}

    @task
    async def spoil(value: dict[str, list[int]], constant: list[int], given: dict[str, list[int]]) -> None:
        seen.append((value["list"].copy(), constant.copy(), given["x"].copy()))
        value["list"].append(2)
        constant.append(2)
        given["x"].append(2)

    @dag
    def work(given: dict[str, list[int]]) -> Any:
        made = make()
        return [spoil.override(task_id=f"spoil{n}", retries=1)(made, [1], given) for n in range(4)]

    async with tidemill_harness(dags=[work]) as harness:
        for _ in range(2):
            await harness.start("work", given={"x": [1]})
        await harness.run_until_idle()

        assert [(value, constant) for value, constant, _ in seen] == [([1], [1])] * 8
        await check_store(harness, ended=2)


async def test_argument_that_does_not_exist_fails_the_task_for_good_and_says_where(
    tidemill_harness: MakeHarness,
) -> None:
    @task
    async def make() -> dict[str, int]:
        return {"here": 1}

    @task(retries=5)
    async def use(value: Any) -> Any:
        return value

    @dag
    def work() -> Any:
        return use(make()["there"])

    async with tidemill_harness(dags=[work]) as harness:
        run_id = await harness.start("work")
        await harness.run_until_idle()

        run = await harness.run(run_id)
        assert (run.state, run.states) == ("failed", {"make": "succeeded", "use": "failed"})
        error = run.tasks["use"].error
        assert error is not None
        assert error.error_type == "UnresolvedReference"
        assert error.message == "the result of task 'make' has no 'there' (it has 'here')"
        assert run.tasks["use"].attempts == 1


async def test_output_that_does_not_exist_fails_the_run_and_harms_no_other(
    tidemill_harness: MakeHarness,
) -> None:
    @task
    async def make(key: str) -> dict[str, int]:
        return {key: 1}

    @dag
    def work(key: str) -> Any:
        return make(key)["a"]

    async with tidemill_harness(dags=[work]) as harness:
        runs = [await harness.start("work", key=key) for key in ("b", "a")]
        await harness.run_until_idle()

        assert [(await harness.run(run)).state for run in runs] == ["failed", "succeeded"]
        (failed,) = await harness.events(type="dev.tidemill.run.failed.v1")
        assert failed.data["error"] == {
            "reason": "the run's result cannot be made: the result of task 'make' has no 'a' (it has 'b')",
            "tasks": [],
        }
        await check_store(harness, ended=2)


async def test_task_that_cancels_itself_fails_and_the_run_ends(tidemill_harness: MakeHarness) -> None:
    @task(retries=1)
    async def leave() -> None:
        current = asyncio.current_task()
        assert current is not None
        current.cancel()
        await asyncio.Event().wait()

    @task
    async def after(value: Any) -> None:
        return None

    @dag
    def work() -> Any:
        return after(leave())

    async with tidemill_harness(dags=[work]) as harness:
        run_id = await harness.start("work")
        await harness.run_until_done()

        run = await harness.run(run_id)
        assert (run.state, run.tasks["leave"].attempts) == ("failed", 2)
        assert run.states == {"leave": "failed", "after": "upstream_failed"}


async def test_every_attempt_has_its_number_and_the_same_key(tidemill_harness: MakeHarness) -> None:
    seen = []

    @task(retries=2)
    async def work(context: Context) -> None:
        seen.append(
            (context.attempt, context.idempotency_key, context.run_id, context.task_id, context.dag_id)
        )
        if context.attempt < 3:
            raise ValueError

    @dag
    def flow() -> Any:
        return work()

    async with tidemill_harness(dags=[flow]) as harness:
        run_id = await harness.start("flow")
        await harness.run_until_done()

    assert seen == [(n, f"{run_id}/work", run_id, "work", "flow") for n in (1, 2, 3)]


async def test_task_sees_the_event_that_started_its_run(tidemill_harness: MakeHarness) -> None:
    seen = []

    @task
    async def look(context: Context, amount: int) -> None:
        assert context.event is not None
        seen.append((context.event.id, context.event.data, dict(context.parameters), amount))

    @dag
    def flow(amount: int) -> Any:
        return look(amount=amount)

    triggers = """
        triggers:
          - name: orders
            dag: flow
            filters: [{exact: {type: order}}]
            parameters: {amount: $.data.amount}
    """
    async with tidemill_harness(dags=[flow], triggers=triggers) as harness:
        await harness.send(type="order", id="7", data={"amount": 5})
        await harness.run_until_idle()

        assert seen == [("7", {"amount": 5}, {"amount": 5}, 5)]


async def test_retry_takes_over_what_was_done_and_does_the_rest_again(tidemill_harness: MakeHarness) -> None:
    calls: list[str] = []
    broken = True

    @task
    async def first() -> int:
        calls.append("first")
        return 4

    @task
    async def second(value: int) -> int:
        calls.append("second")
        if broken:
            raise ValueError
        return value + 1

    @dag
    def flow(x: int) -> Any:
        return second(first())

    async with tidemill_harness(dags=[flow]) as harness:
        failed = await harness.start("flow", x=3)
        await harness.run_until_idle()
        broken = False
        again = await harness.retry(failed)
        await harness.run_until_idle()

        run = await harness.run(again)
        assert calls == ["first", "second", "second"]
        assert (run.state, run.summary.trigger, run.summary.parameters) == ("succeeded", "retry", b'{"x":3}')
        assert (run.result("first"), run.result("second")) == (4, 5)
        assert (run.tasks["first"].attempts, run.tasks["second"].attempts) == (0, 1)
        await check_store(harness, ended=2)
