"""Shards come and go while the engine works: what is lost is dropped unrecorded, what is gained goes on."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from tests.unit.engine.checks import check_store
from tests.unit.engine.ownership import Ownership

from tidemill import Context, dag, task
from tidemill.dag.declaration import DagDefinition
from tidemill.errors import StoreUnavailable
from tidemill.runs.records import Failure, RunEnded, RunRecovered, TaskFailed, TaskLost, encode
from tidemill.storage.contract import Recorded, RunEnd, RunSummary
from tidemill.storage.shards import ALL
from tidemill.testing.faults import FailCommits
from tidemill.testing.harness import Harness, MakeHarness


class Gated:
    """A DAG of two tasks, of which the first waits until it is let go, and what became of its attempts."""

    def __init__(self, *, max_active_runs: int | None = None) -> None:
        self.go = asyncio.Event()
        self.begun: Counter[str] = Counter()
        self.cancelled: list[str] = []

        @task
        async def first(context: Context) -> int:
            self.begun[context.run_id] += 1
            try:
                await self.go.wait()
            except asyncio.CancelledError:
                self.cancelled.append(context.run_id)
                raise
            return context.attempt

        @task
        async def second(value: int) -> int:
            return value

        @dag(max_active_runs=max_active_runs)  # without a limit each run has a shard of its own
        def work() -> Any:
            return second(first())

        self.dag: DagDefinition = work


async def start_apart(harness: Harness, count: int = 2) -> list[tuple[str, int]]:
    """Start runs of as many shards: each with its shard."""
    found: dict[int, str] = {}
    while len(found) < count:
        run_id = await harness.start("work")
        await harness.run_until_idle(attempts=False)
        found.setdefault((await summary(harness, run_id)).shard, run_id)
    return [(run_id, shard) for shard, run_id in found.items()]


async def start(harness: Harness) -> tuple[str, int]:
    ((run_id, shard),) = await start_apart(harness, 1)
    return run_id, shard


async def summary(harness: Harness, run_id: str) -> RunSummary:
    return (await harness.run(run_id)).summary


def fail_twice(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> list[StoreUnavailable]:
    """Let the first two readings of live runs fail; the failures that are still to come."""
    read, failures = (
        harness.store.runs.live,
        [StoreUnavailable("the database does not answer") for _ in range(2)],
    )

    async def fail_at_first(**which: Any) -> list[RunSummary]:
        if failures:
            raise failures.pop()
        return await read(**which)

    monkeypatch.setattr(harness.store.runs, "live", fail_at_first)
    return failures


async def recoveries(harness: Harness, run_id: str) -> int:
    return sum(isinstance(record, RunRecovered) for record in (await harness.run(run_id)).records)


async def test_runs_of_a_lost_shard_are_dropped_their_attempts_cancelled_and_nothing_is_recorded(
    tidemill_harness: MakeHarness,
) -> None:
    work = Gated()

    async with tidemill_harness(dags=[work.dag]) as harness:
        ownership = Ownership(harness)
        (lost, shard), (kept, _) = await start_apart(harness)
        others = harness.live_runs - 1
        before = await harness.store.runs.history(lost)
        ownership.lose(shard)
        await harness.run_until_idle(attempts=False)
        assert work.cancelled == [lost]
        assert harness.live_runs == others
        work.go.set()
        await harness.run_until_idle()

        assert await harness.store.runs.history(lost) == before
        assert (await harness.run(kept)).state == "succeeded"
        await check_store(harness)


@pytest.mark.parametrize(
    ("owners_between", "handed_over", "deaths"),
    [(1, False, 1), (0, True, 0), (1, True, 0), (0, False, 0)],
    ids=["another node died", "never worked on", "another node gave it back", "our session was lost"],
)
async def test_taken_shard_goes_on_where_it_was_and_counts_a_death_only_where_somebody_may_have_died(
    tidemill_harness: MakeHarness, owners_between: int, handed_over: bool, deaths: int
) -> None:
    work = Gated()

    async with tidemill_harness(dags=[work.dag]) as harness:
        ownership = Ownership(harness)
        run_id, shard = await start(harness)
        ownership.lose(shard)
        await harness.run_until_idle(attempts=False)
        work.go.set()
        ownership.take(shard, owners_between=owners_between, handed_over=handed_over)
        await harness.run_until_idle()

        run = await harness.run(run_id)
        assert (run.state, run.result("second"), run.tasks["first"].attempts) == ("succeeded", 2, 2)
        assert work.begun[run_id] == 2
        assert await recoveries(harness, run_id) == deaths
        await check_store(harness, ended=len(await harness.runs()))


async def test_run_whose_node_loses_its_session_again_and_again_is_no_killer(
    tidemill_harness: MakeHarness,
) -> None:
    work = Gated()

    async with tidemill_harness(dags=[work.dag], max_recoveries=1) as harness:
        ownership = Ownership(harness)
        run_id, _ = await start(harness)
        for _ in range(4):
            ownership.lose(*ALL)
            ownership.take(*ALL)
            await harness.run_until_idle(attempts=False)
        work.go.set()
        await harness.run_until_idle()

        assert (await harness.run(run_id)).state == "succeeded"


async def test_records_on_their_way_when_their_shard_is_lost_are_refused_and_others_are_not(
    tidemill_harness: MakeHarness,
) -> None:
    work = Gated()

    async with tidemill_harness(dags=[work.dag]) as harness:
        ownership = Ownership(harness)
        (lost, shard), (kept, _) = await start_apart(harness)
        before = await harness.store.runs.history(lost)
        ownership.hold_up()
        work.go.set()  # both succeed, in one batch of records
        await ownership.waiting.wait()
        ownership.lose(shard)
        ownership.way.set()
        await harness.run_until_idle()

        assert ownership.refused >= 2
        assert await harness.store.runs.history(lost) == before
        assert (await harness.run(kept)).state == "succeeded"
        ownership.take(shard, owners_between=1, handed_over=True)
        await harness.run_until_idle()
        assert (await harness.run(lost)).tasks["first"].attempts == 2
        await check_store(harness, ended=len(await harness.runs()))


async def test_attempt_whose_start_was_on_its_way_when_its_shard_was_lost_never_begins_and_takes_no_slot(
    tidemill_harness: MakeHarness,
) -> None:
    work = Gated()
    work.go.set()

    async with tidemill_harness(dags=[work.dag], max_running_tasks=1) as harness:
        ownership = Ownership(harness)
        ownership.hold_up()
        held_up = await harness.start("work")
        await ownership.waiting.wait()
        ownership.lose(*ALL)
        ownership.way.set()
        await harness.run_until_idle()
        assert work.begun == {}
        assert [run.state for run in await harness.runs()] == ["queued"]
        ownership.take(*ALL)
        await harness.run_until_idle()

        assert work.begun == {held_up: 1}
        await check_store(harness, ended=1)


async def test_attempt_that_waits_behind_another_commit_when_its_shard_is_lost_never_begins(
    tidemill_harness: MakeHarness,
) -> None:
    work = Gated()
    work.go.set()

    async with tidemill_harness(dags=[work.dag], max_running_tasks=2) as harness:
        ownership = Ownership(harness)
        ownership.hold_up()
        await harness.start("work")
        await ownership.waiting.wait()
        await harness.start("work")  # decided while the first one is on its way
        while harness.live_runs < 2:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0)
        ownership.lose(*ALL)
        ownership.way.set()
        await harness.run_until_idle()
        assert (work.begun, harness.live_runs) == ({}, 0)
        ownership.take(*ALL)
        await harness.run_until_idle()

        assert sorted(work.begun.values()) == [1, 1]
        await check_store(harness, ended=2)


@pytest.mark.parametrize("is_queued", [False, True])
async def test_request_for_a_run_of_a_lost_shard_waits_for_whoever_has_it_next(
    tidemill_harness: MakeHarness, is_queued: bool
) -> None:
    work = Gated(max_active_runs=1)

    async with tidemill_harness(dags=[work.dag]) as harness:
        ownership = Ownership(harness)
        runs = [await harness.start("work") for _ in range(2)]
        await harness.run_until_idle(attempts=False)
        run_id = runs[is_queued]
        shard = (await summary(harness, run_id)).shard
        ownership.lose(shard)
        await harness.cancel(run_id)
        await harness.run_until_idle(attempts=False)
        assert [request.run_id for request in await harness.store.runs.requests()] == [run_id]
        assert (await harness.run(run_id)).state != "cancelled"
        ownership.take(shard, owners_between=1, handed_over=True)
        await harness.run_until_idle(attempts=False)
        assert await harness.store.runs.requests() == []
        work.go.set()
        await harness.run_until_idle()

        assert (await harness.run(run_id)).state == "cancelled"
        await check_store(harness, ended=2)


async def test_answer_to_a_request_that_was_lost_with_its_shard_is_given_by_the_next_owner(
    tidemill_harness: MakeHarness,
) -> None:
    work = Gated()

    async with tidemill_harness(dags=[work.dag]) as harness:
        ownership = Ownership(harness)
        run_id, shard = await start(harness)
        ownership.hold_up()
        await harness.cancel(run_id)
        await ownership.waiting.wait()
        ownership.lose(shard)
        ownership.way.set()
        await harness.run_until_idle(attempts=False)
        assert len(await harness.store.runs.requests()) == 1
        ownership.take(shard, owners_between=1, handed_over=True)
        await harness.run_until_idle()

        assert (await harness.run(run_id)).state == "cancelled"
        assert await harness.store.runs.requests() == []
        await check_store(harness, ended=len(await harness.runs()))


async def test_retry_of_a_run_whose_shard_is_lost_begins_where_the_new_run_belongs(
    tidemill_harness: MakeHarness,
) -> None:
    calls: Counter[str] = Counter()

    @task
    async def good() -> int:
        calls["good"] += 1
        return 1

    @task
    async def bad(value: int) -> int:
        calls["bad"] += 1
        if calls["bad"] == 1:
            raise ValueError
        return value

    @dag
    def work() -> Any:
        return bad(good())

    async with tidemill_harness(dags=[work]) as harness:
        ownership = Ownership(harness)
        failed = await harness.start("work")
        await harness.run_until_idle()
        ownership.lose(*ALL)
        again = await harness.retry(failed)
        await harness.run_until_idle()
        assert (await harness.run(again)).state == "queued"
        ownership.take((await summary(harness, again)).shard)
        await harness.run_until_idle()

        assert (await harness.run(again)).state == "succeeded"
        assert calls == {"good": 1, "bad": 2}
        await check_store(harness, ended=2)


async def test_taken_shards_are_read_again_when_the_database_did_not_answer(
    tidemill_harness: MakeHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = Gated()

    async with tidemill_harness(dags=[work.dag]) as harness:
        ownership = Ownership(harness)
        run_id, shard = await start(harness)
        ownership.lose(shard)
        await harness.run_until_idle(attempts=False)
        failures = fail_twice(harness, monkeypatch)
        work.go.set()
        ownership.take(shard, owners_between=1)
        await harness.advance(30)

        assert failures == []
        assert (await harness.run(run_id)).state == "succeeded"
        await check_store(harness, ended=len(await harness.runs()))


async def test_request_for_a_run_that_is_not_read_back_yet_waits_until_it_is(
    tidemill_harness: MakeHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = Gated()

    async with tidemill_harness(dags=[work.dag]) as harness:
        ownership = Ownership(harness)
        run_id, shard = await start(harness)
        ownership.lose(shard)
        await harness.run_until_idle(attempts=False)
        fail_twice(harness, monkeypatch)
        ownership.take(shard, owners_between=1)
        await harness.cancel(run_id)
        await harness.advance(30)

        assert (await harness.run(run_id)).state == "cancelled"
        assert await harness.store.runs.requests() == []


async def test_shard_that_is_lost_and_taken_while_it_is_read_back_is_read_once_more(
    tidemill_harness: MakeHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = Gated()

    async with tidemill_harness(dags=[work.dag]) as harness:
        ownership = Ownership(harness)
        run_id, shard = await start(harness)
        ownership.lose(shard)
        await harness.run_until_idle(attempts=False)
        read = harness.store.runs.histories
        readings = 0

        async def read_meanwhile(run_ids: Any) -> Any:
            nonlocal readings
            found = await read(run_ids)
            readings += 1
            if readings == 1:
                ownership.lose(shard)
                row = Recorded(run_id, len(found[run_id]), 1, encode([RunRecovered(), TaskLost("first", 1)]))
                await ownership.record_elsewhere(row)
                ownership.take(shard, owners_between=1)
            return found

        monkeypatch.setattr(harness.store.runs, "histories", read_meanwhile)
        work.go.set()
        ownership.take(shard, owners_between=1)
        await harness.run_until_idle()

        assert readings == 2
        assert work.begun[run_id] == 2
        assert (await harness.run(run_id)).state == "succeeded"
        await check_store(harness, ended=len(await harness.runs()))


async def test_run_that_begins_in_a_taken_shard_and_ends_while_it_is_read_back_ends_once(
    tidemill_harness: MakeHarness, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    @task
    async def only() -> int:
        ownership.hold_up()  # its success waits for its way
        return 1

    @dag
    def work() -> Any:
        return only()

    async with tidemill_harness(dags=[work]) as harness:
        ownership = Ownership(harness)
        read_live, read_histories = harness.store.runs.live, harness.store.runs.histories
        read: list[str] = []

        async def fail_until_it_succeeds(**which: Any) -> list[RunSummary]:
            if not ownership.waiting.is_set():
                raise StoreUnavailable("the database does not answer")
            page = await read_live(**which)
            read.extend(run.run_id for run in page)
            return page

        async def read_when_it_has_ended(run_ids: Any) -> Any:
            ownership.way.set()
            while harness.live_runs:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0)
            return await read_histories(run_ids)

        monkeypatch.setattr(harness.store.runs, "live", fail_until_it_succeeds)
        monkeypatch.setattr(harness.store.runs, "histories", read_when_it_has_ended)
        ownership.lose(*ALL)
        ownership.take(*ALL)
        run_id = await harness.start("work")
        while not read:
            harness.clock.advance(1)
            await asyncio.sleep(0.001)
        await harness.run_until_idle()

        assert read == [run_id]
        assert (await harness.run(run_id)).state == "succeeded"
        assert not [record for record in caplog.records if record.levelname == "ERROR"]
        await check_store(harness, ended=1)


async def test_run_that_another_node_ends_while_we_read_it_and_do_not_know_that_we_lost_it_is_left_alone(
    tidemill_harness: MakeHarness, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    work = Gated()

    async with tidemill_harness(dags=[work.dag]) as harness:
        ownership = Ownership(harness)
        run_id, shard = await start(harness)
        others = harness.live_runs - 1
        ownership.lose(shard)
        await harness.run_until_idle(attempts=False)
        rows = len(await harness.store.runs.history(run_id))
        read = harness.store.runs.histories

        async def read_when_it_has_ended(run_ids: Any) -> Any:
            body = encode([TaskFailed("first", 1, Failure("ValueError", "no")), RunEnded("failed", "no")])
            end = RunEnd("failed", started_at=1, ended_at=2)
            await ownership.record_elsewhere(Recorded(run_id, rows, 2, body, end))
            return await read(run_ids)

        monkeypatch.setattr(harness.store.runs, "histories", read_when_it_has_ended)
        ownership.take(shard, owners_between=1)
        await harness.run_until_idle(attempts=False)

        assert harness.live_runs == others
        assert (await harness.run(run_id)).state == "failed"
        assert len(await harness.store.runs.history(run_id)) == rows + 1
        assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_ordered_stop_records_the_attempts_that_it_cuts_off_as_nobodys_death(
    tidemill_harness: MakeHarness,
) -> None:
    work = Gated()

    async with tidemill_harness(dags=[work.dag], max_recoveries=1) as harness:
        run_id = await harness.start("work")
        for _ in range(3):
            await harness.run_until_idle(attempts=False)
            await harness.stop(drain_seconds=0)
            await harness.restart()
            assert isinstance((await harness.run(run_id)).records[-1], TaskLost)
        work.go.set()
        await harness.run_until_idle()

        run = await harness.run(run_id)
        assert (run.state, run.tasks["first"].attempts) == ("succeeded", 4)
        assert await recoveries(harness, run_id) == 0
        await check_store(harness, ended=1)


async def test_ordered_stop_ends_a_run_that_was_about_to_be_cancelled(tidemill_harness: MakeHarness) -> None:
    @task
    async def stubborn() -> None:
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if is_closing:
                    raise

    @dag
    def work() -> Any:
        return stubborn()

    is_closing = False
    async with tidemill_harness(dags=[work]) as harness:
        run_id = await harness.start("work")
        await harness.run_until_idle(attempts=False)
        await harness.cancel(run_id)
        await harness.run_until_idle(attempts=False)
        assert (await harness.run(run_id)).state == "running"
        is_closing = True
        await harness.stop(drain_seconds=0)
        await harness.restart()

        assert harness.live_runs == 0
        assert (await harness.run(run_id)).state == "cancelled"
        await check_store(harness, ended=1)


async def test_ordered_stop_ends_although_somebody_else_has_recorded_meanwhile(
    tidemill_harness: MakeHarness,
) -> None:
    work = Gated()

    async with tidemill_harness(dags=[work.dag]) as harness:
        run_id = await harness.start("work")
        await harness.run_until_idle(attempts=False)
        rows = len(await harness.store.runs.history(run_id))
        await harness.store.runs.record([Recorded(run_id, rows, 1, encode([TaskLost("first", 1)]))])
        await harness.stop(drain_seconds=0)
        await harness.restart()
        work.go.set()
        await harness.run_until_idle()

        assert (await harness.run(run_id)).state == "succeeded"
        await check_store(harness, ended=1)


async def test_ordered_stop_whose_last_records_cannot_be_written_looks_like_a_death(
    tidemill_harness: MakeHarness,
) -> None:
    work = Gated()

    async with tidemill_harness(dags=[work.dag]) as harness:
        run_id = await harness.start("work")
        await harness.run_until_idle(attempts=False)
        harness.faults.append(FailCommits("record.before_commit", 10**6))
        await harness.stop(drain_seconds=0)
        await harness.restart()
        work.go.set()
        await harness.run_until_idle()

        assert (await harness.run(run_id)).state == "succeeded"
        assert await recoveries(harness, run_id) == 1
        await check_store(harness, ended=1)
