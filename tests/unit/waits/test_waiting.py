"""Runs that wait: parked, woken by time or event, once."""

from __future__ import annotations

from typing import Any

import pytest

from tidemill import DoNotRetry, dag, sleep, task, wait_for_event
from tidemill.runs.records import TaskFailed, TaskSucceeded, TaskWaiting, decode
from tidemill.testing.faults import FailCommits
from tidemill.testing.harness import Harness


async def test_a_run_that_sleeps_is_a_row_and_wakes_at_its_time(dags: list[Any]) -> None:
    async with Harness(dags=dags) as harness:
        run = await harness.start("nap", seconds=3600)

        await harness.advance(3599)

        assert harness.live_runs == 0
        assert (await harness.run(run)).state == "waiting"
        await harness.advance(1)
        found = await harness.run(run)
        assert found.state == "succeeded"
        assert found.result("keep") == "2024-01-01T01:00:00.000000Z"


async def test_a_moment_may_be_text_of_a_parameter(dags: list[Any]) -> None:
    async with Harness(dags=dags) as harness:
        run = await harness.start("later", moment="2024-01-02T00:00:00+00:00")

        await harness.advance(86_399)

        assert (await harness.run(run)).state == "waiting"
        await harness.advance(1)
        assert (await harness.run(run)).state == "succeeded"


async def test_a_moment_that_has_passed_is_no_wait(dags: list[Any]) -> None:
    async with Harness(dags=dags) as harness:
        run = await harness.start("later", moment="2020-01-01T00:00:00Z")

        await harness.run_until_done()

        assert (await harness.run(run)).state == "succeeded"
        assert harness.clock.now_us() == 1_704_067_200_000_000


@pytest.mark.parametrize("moment", ["tomorrow", "2024-01-02T00:00:00"])
async def test_a_moment_that_is_none_fails_the_wait(dags: list[Any], moment: str) -> None:
    async with Harness(dags=dags) as harness:
        run = await harness.start("later", moment=moment)

        await harness.run_until_done()

        found = await harness.run(run)
        assert found.state == "failed"
        assert getattr(found.tasks["wait_until"].error, "error_type", None) == "InvalidWait"


async def test_an_event_wakes_the_run_whose_values_it_has(dags: list[Any]) -> None:
    async with Harness(dags=dags) as harness:
        seven, eight = await harness.start("paid", number=7), await harness.start("paid", number=8)
        await harness.run_until_idle()
        assert harness.live_runs == 0

        await harness.send(type="shop.payment", data={"order_id": 7, "sum": 12})
        await harness.send(type="shop.payment", data={"order_id": "8"})
        await harness.send(type="shop.payment", data={})
        await harness.run_until_idle()

        assert (await harness.run(seven)).result("keep")["data"] == {"order_id": 7, "sum": 12}
        assert (await harness.run(eight)).state == "waiting"


async def test_the_first_event_in_the_log_is_taken_and_only_that(dags: list[Any]) -> None:
    async with Harness(dags=dags) as harness:
        run = await harness.start("paid", number=7)
        await harness.run_until_idle()

        for number in range(3):
            await harness.send(type="shop.payment", id=f"e{number}", data={"order_id": 7})
        await harness.run_until_idle()

        assert (await harness.run(run)).result("keep")["id"] == "e0"
        rows = await harness.store.waits.hit(limit=10)
        assert rows == []


async def test_one_event_wakes_every_run_that_waits_for_it(dags: list[Any]) -> None:
    async with Harness(dags=dags) as harness:
        runs = [await harness.start("paid", number=7) for _ in range(20)]
        await harness.run_until_idle()

        await harness.send(type="shop.payment", data={"order_id": 7})
        await harness.run_until_idle()

        assert {(await harness.run(run)).state for run in runs} == {"succeeded"}


async def test_an_event_from_before_the_wait_ends_it_only_by_lookback(dags: list[Any]) -> None:
    async with Harness(dags=dags) as harness:
        await harness.send(type="news", id="old", data=1)
        await harness.advance(400)
        await harness.send(type="news", id="first", data=2)
        await harness.send(type="news", id="second", data=3)
        await harness.send(type="shop.payment", data={"order_id": 7})
        await harness.advance(60)

        run, other = await harness.start("recent"), await harness.start("paid", number=7)
        await harness.run_until_idle()

        assert (await harness.run(run)).result("w")["id"] == "first"
        assert (await harness.run(other)).state == "waiting"


async def test_an_event_that_was_routed_while_the_wait_went_to_the_disk_is_found(dags: list[Any]) -> None:
    async with Harness(dags=dags) as harness:
        run = await harness.start("paid", number=7)
        fault = FailCommits("record.before_commit", times=2, skip=1)
        harness.faults.append(fault)
        await harness.run_until_idle()
        assert fault.failed > 0  # the wait is decided, and its commit waits for its next try
        assert await harness.store.waits.counts() == {}

        await harness.send(type="shop.payment", id="early", data={"order_id": 7})
        await harness.run_until_idle()
        assert harness.store.log.routed == harness.store.log.head
        await harness.advance(5)

        assert (await harness.run(run)).result("keep")["id"] == "early"


async def test_a_wait_whose_time_is_up_fails_is_skipped_or_has_a_value(dags: list[Any]) -> None:
    async with Harness(dags=dags) as harness:
        fails = await harness.start("paid", number=7)
        skips, has = await harness.start("skipped"), await harness.start("instead")

        await harness.run_until_done()

        failed = await harness.run(fails)
        assert failed.state == "failed"
        assert getattr(failed.tasks["payment"].error, "error_type", None) == "WaitTimedOut"
        assert (await harness.run(skips)).tasks["keep"].state == "skipped"
        assert (await harness.run(has)).result("w") == {"nothing": True}


async def test_an_event_that_came_in_time_wins_over_the_time(dags: list[Any]) -> None:
    async with Harness(dags=dags) as harness:
        run = await harness.start("paid", number=7)
        await harness.advance(86_399)
        harness.crash_at("route.before_commit")
        await harness.send(type="shop.payment", data={"order_id": 7})
        await harness.run_until_idle()
        harness.clock.advance(3600)

        await harness.restart()
        await harness.run_until_idle()

        assert (await harness.run(run)).state == "succeeded"


async def test_a_parked_run_is_cancelled_alone(dags: list[Any]) -> None:
    async with Harness(dags=dags) as harness:
        one, other = await harness.start("paid", number=1), await harness.start("paid", number=2)
        await harness.run_until_idle()

        await harness.cancel(one)
        await harness.run_until_idle()

        assert (await harness.run(one)).state == "cancelled"
        assert (await harness.run(other)).state == "waiting"
        assert await harness.store.waits.counts() == {"event": 1}


async def test_a_run_tells_that_it_waits(dags: list[Any]) -> None:
    async with Harness(dags=dags) as harness:
        run = await harness.start("paid", number=7)

        await harness.run_until_idle()

        (event,) = await harness.events(type="dev.tidemill.run.waiting.v1")
        assert event.subject == run
        assert event.data["waits"] == [
            {
                "task": "payment",
                "due_at": "2024-01-02T00:00:00.000000Z",
                "kind": "event",
                "match": {"data.order_id": 7},
            }
        ]


async def test_waiting_runs_hold_a_place_where_one_goes_after_the_other() -> None:
    @dag(max_active_runs=1)
    def alone() -> None:
        sleep(60)

    @dag(max_active_runs=2)
    def together() -> None:
        sleep(60)

    @dag(max_active_runs=2, count_waiting=True)
    def counted() -> None:
        sleep(60)

    async with Harness(dags=[alone, together, counted]) as harness:
        for name in ("alone", "together", "counted"):
            for _ in range(3):
                await harness.start(name)

        await harness.run_until_idle()

        waiting = {
            name: len(await harness.runs(dag=name, state="waiting"))
            for name in ("alone", "together", "counted")
        }
        assert waiting == {"alone": 1, "together": 3, "counted": 2}
        await harness.kill()
        await harness.restart()
        await harness.run_until_idle()
        assert len(await harness.runs(dag="alone", state="queued")) == 2
        await harness.run_until_done()
        assert {run.state for run in await harness.runs()} == {"succeeded"}


async def test_a_storm_of_wake_ups_is_a_queue_on_disk() -> None:
    started: list[int] = []

    @task
    async def note(number: int) -> None:
        started.append(number)

    @dag(max_active_runs=None)
    def storm(number: int) -> None:
        sleep(60) >> note(number)

    async with Harness(dags=[storm], max_live_runs=7) as harness:
        for number in range(60):
            await harness.start("storm", number=number)
        await harness.run_until_idle()
        assert len(await harness.runs(state="waiting")) == 60

        await harness.advance(61)

        assert sorted(started) == list(range(60))
        assert {run.state for run in await harness.runs()} == {"succeeded"}


async def test_more_runs_than_a_page_wait_for_one_event() -> None:
    @dag(max_active_runs=None)
    def open_market() -> None:
        wait_for_event({"type": ["market.open"]}, timeout=3600)

    async with Harness(dags=[open_market]) as harness:
        for _ in range(1_100):
            await harness.start("open_market")
        await harness.run_until_idle()

        await harness.send(type="market.open")
        await harness.run_until_idle()

        states = [run.state for run in await harness.runs()]
        assert states == ["succeeded"] * 1_100
        assert await harness.store.waits.counts() == {}


async def test_a_run_goes_on_while_one_of_its_tasks_waits() -> None:
    @task
    async def work() -> str:
        return "done"

    @dag
    def both() -> None:
        sleep(60, task_id="nap")
        work()

    async with Harness(dags=[both]) as harness:
        run = await harness.start("both")
        await harness.run_until_idle()

        found = await harness.run(run)
        assert (found.state, found.tasks["work"].state, found.tasks["nap"].state) == (
            "waiting",
            "succeeded",
            "waiting",
        )
        await harness.run_until_done()
        assert (await harness.run(run)).state == "succeeded"


async def test_what_a_finished_wait_gave_is_carried_over_by_a_retry(dags: list[Any]) -> None:
    calls: list[int] = []

    @task
    async def brittle(event: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise DoNotRetry("once")
        return event["id"]

    @dag
    def careful() -> Any:
        return brittle(wait_for_event({"type": ["go"]}, task_id="go"))

    async with Harness(dags=[careful]) as harness:
        run = await harness.start("careful")
        await harness.run_until_idle()
        await harness.send(type="go", id="g1")
        await harness.run_until_idle()
        assert (await harness.run(run)).state == "failed"

        again = await harness.retry(run)
        await harness.run_until_idle()

        assert (await harness.run(again)).result("brittle") == "g1"


async def test_setting_the_clock_back_delays_no_wait_that_has_begun(dags: list[Any]) -> None:
    async with Harness(dags=dags) as harness:
        run = await harness.start("nap", seconds=60)
        await harness.run_until_idle()

        harness.clock.jump(-86_400)
        await harness.advance(59)
        before = (await harness.run(run)).state
        await harness.advance(1)

        assert (before, (await harness.run(run)).state) == ("waiting", "succeeded")


async def test_no_wait_is_recorded_as_over_before_its_time(dags: list[Any]) -> None:
    async with Harness(dags=dags) as harness:
        run = await harness.start("nap", seconds=60)
        asking = await harness.start("publish", title="?")
        await harness.run_until_idle()
        (asked,) = await harness.store.approvals.list(state=None, run=asking, before=None, limit=1)

        harness.clock.jump(-0.005)  # as clocks do that are kept right while time passes
        await harness.advance(60)
        before = (await harness.run(run)).state
        await harness.advance(0.005)
        await harness.advance(3540)

        (approval,) = await harness.store.approvals.list(state=None, run=asking, before=None, limit=1)
        assert (before, (await harness.run(run)).state) == ("waiting", "succeeded")
        assert approval.state == "timed_out"
        assert approval.ended_at >= asked.due_at
        for one in (run, asking):
            rows = [
                (at, record) for _, at, body in (await harness.run(one)).history for record in decode(body)
            ]
            due_at = next(record.due_at for _, record in rows if isinstance(record, TaskWaiting))
            begun = next(place for place, (_, record) in enumerate(rows) if isinstance(record, TaskWaiting))
            over = next(at for at, record in rows[begun:] if isinstance(record, TaskSucceeded | TaskFailed))
            assert over >= due_at


async def test_setting_the_clock_forward_skips_and_repeats_nothing(dags: list[Any]) -> None:
    async with Harness(dags=dags) as harness:
        runs = [await harness.start("nap", seconds=60 * number) for number in range(1, 4)]
        await harness.run_until_idle()

        harness.clock.jump(365 * 86_400)
        await harness.advance(180)

        assert [(await harness.run(run)).state for run in runs] == ["succeeded"] * 3
        assert len(await harness.events(type="dev.tidemill.run.succeeded.v1")) == 3
