"""Commits that fail, answers that are lost, and death at every commit point: nothing lost, doubled or done again."""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import Any

import pytest
from tests.unit.engine.checks import check_store

from tidemill import Context, dag, task
from tidemill.errors import StoreUnavailable
from tidemill.testing.faults import CrashAt, FailCommits, LoseAnswers
from tidemill.testing.harness import Harness, HarnessError, MakeHarness


class Ledger:
    """What tasks did in the outside world, and a DAG whose tasks do it."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.keys: dict[str, set[str]] = {}
        self.attempts: dict[str, list[int]] = {}

        def note(context: Context) -> None:
            name = f"{context.run_id}/{context.task_id}"
            self.calls[name] += 1
            self.keys.setdefault(name, set()).add(context.idempotency_key)
            self.attempts.setdefault(name, []).append(context.attempt)

        @task(retries=2, retry_delay=5)
        async def first(context: Context, fails: bool) -> int:
            note(context)
            if fails and len(self.attempts[f"{context.run_id}/first"]) == 1:
                raise ValueError
            return 1

        @task
        async def second(context: Context, value: int) -> int:
            note(context)
            return value + 1

        @task
        def third(context: Context, left: int, right: int) -> int:
            note(context)
            return left + right

        @dag(max_active_runs=3)
        def work(fails: bool = False) -> Any:
            value = first(fails=fails)
            return third(left=second(value=value), right=second.override(task_id="beside")(value=value))

        self.dag = work


TRIGGERS = """
    triggers:
      - name: orders
        dag: work
        filters: [{exact: {type: order}}]
        parameters: {fails: $.data.fails}
"""


async def send(harness: Harness, count: int = 4) -> None:
    for number in range(count):
        while True:
            with contextlib.suppress(StoreUnavailable):  # as every source does, ask again
                await harness.send(type="order", id=str(number), data={"fails": number == 1})
                break


@pytest.mark.parametrize("kind", ["record", "route"])
@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("skip", [0, 1, 4])
async def test_commit_that_fails_is_handed_in_again_until_it_is_on_disk(
    kind: str, times: int, skip: int, tidemill_harness: MakeHarness
) -> None:
    ledger = Ledger()

    async with tidemill_harness(dags=[ledger.dag], triggers=TRIGGERS) as harness:
        fault = FailCommits(f"{kind}.before_commit", times, skip=0 if kind == "route" else skip)
        harness.faults.append(fault)
        await send(harness)
        await harness.advance(600)

        assert fault.failed == times
        assert set(ledger.calls.values()) == {1, 2}
        assert sum(ledger.calls.values()) == 4 * 4 + 1
        await check_store(harness, ended=4)


@pytest.mark.parametrize("kind", ["record", "route"])
@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("skip", [0, 1, 4])
async def test_lost_answer_of_a_commit_loses_and_doubles_nothing(
    kind: str, times: int, skip: int, tidemill_harness: MakeHarness
) -> None:
    ledger = Ledger()

    async with tidemill_harness(dags=[ledger.dag], triggers=TRIGGERS) as harness:
        fault = LoseAnswers(kind, times, skip=skip if kind == "record" else 0)
        harness.faults.append(fault)
        await send(harness)
        await harness.advance(600)

        assert fault.failed == times
        assert sum(ledger.calls.values()) == 4 * 4 + 1
        await check_store(harness, ended=4)


async def test_nothing_is_acted_on_while_it_cannot_be_written(tidemill_harness: MakeHarness) -> None:
    ledger = Ledger()

    async with tidemill_harness(dags=[ledger.dag], triggers=TRIGGERS) as harness:
        fault = FailCommits("record.before_commit", 10**6)
        harness.faults.append(fault)
        await send(harness)
        await harness.advance(60)
        assert fault.failed > 5
        assert not ledger.calls
        assert {run.state for run in await harness.runs()} == {"queued"}

        fault.left = 0
        await harness.advance(60)
        assert sum(ledger.calls.values()) == 4 * 4 + 1
        await check_store(harness, ended=4)


POINTS = [
    f"{kind}.{side}_commit:{n}"
    for kind, most in (("append", 3), ("route", 1), ("record", 8))
    for side in ("before", "after")
    for n in range(1, most + 1)
]


@pytest.mark.parametrize("point", POINTS)
async def test_death_at_any_commit_loses_and_doubles_nothing(
    point: str, tidemill_harness: MakeHarness
) -> None:
    ledger = Ledger()
    name, _, count = point.partition(":")

    async with tidemill_harness(dags=[ledger.dag], triggers=TRIGGERS) as harness:
        harness.crash_at(name, int(count))
        with contextlib.suppress(HarnessError):
            await send(harness, 3)
            await harness.advance(60)
        assert not harness.is_running
        await harness.restart()
        await send(harness)
        await harness.run_until_done()

        runs = await harness.runs()
        assert len(runs) == 4
        assert {run.state for run in runs} == {"succeeded"}
        for task_name, keys in ledger.keys.items():
            assert keys == {task_name}
            assert ledger.attempts[task_name] == sorted(set(ledger.attempts[task_name]))
        await check_store(harness, ended=4)


@pytest.mark.parametrize(
    "point", ["statement.before_commit", "statement.after_commit", "record.before_commit"]
)
async def test_death_while_starting_loses_and_doubles_nothing(
    point: str, tidemill_harness: MakeHarness
) -> None:
    ledger = Ledger()

    async with tidemill_harness(dags=[ledger.dag], triggers=TRIGGERS) as harness:
        await send(harness)
        harness.crash_at("record.after_commit", 2)
        await harness.run_until_idle()
        with contextlib.suppress(HarnessError):
            await harness.restart(faults=[CrashAt(point)])
            await harness.run_until_idle()
        assert not harness.is_running
        await harness.restart()
        await harness.run_until_done()

        assert {run.state for run in await harness.runs()} == {"succeeded"}
        await check_store(harness, ended=4)


@pytest.mark.parametrize("steps", range(0, 30, 3))
async def test_killed_again_and_again_every_run_still_ends_once(
    steps: int, tidemill_harness: MakeHarness
) -> None:
    ledger = Ledger()

    async with tidemill_harness(dags=[ledger.dag], triggers=TRIGGERS, max_recoveries=100) as harness:
        await send(harness)
        for death in range(4):
            harness.crash_at(
                "record.before_commit" if death % 2 else "record.after_commit", 1 + (steps + death) % 5
            )
            await harness.advance(30)
            await harness.restart()
        await harness.run_until_done()

        assert {run.state for run in await harness.runs()} == {"succeeded"}
        for task_name, attempts in ledger.attempts.items():
            assert attempts == sorted(set(attempts))
            assert ledger.keys[task_name] == {task_name}
        await check_store(harness, ended=4)


async def test_run_that_kills_the_process_is_quarantined_and_the_rest_goes_on(
    tidemill_harness: MakeHarness,
) -> None:
    ran = []

    @task
    async def step(name: str) -> None:
        ran.append(name)

    @dag
    def killer() -> Any:
        return step.override(task_id="after", depends_on=[step("killer")])("after")

    @dag
    def fine() -> Any:
        return step("fine")

    async with tidemill_harness(dags=[killer, fine], max_recoveries=2) as harness:
        harness.crash_at("record.after_commit")
        suspect = await harness.start("killer")
        for deaths in range(1, 4):  # dies as soon as the start of the attempt is on disk
            await harness.run_until_idle()
            assert not harness.is_running
            await harness.restart(faults=[CrashAt("record.after_commit")] if deaths < 3 else [])
        innocent = await harness.start("fine")
        await harness.run_until_idle()

        run = await harness.run(suspect)
        assert (run.state, run.states) == ("failed", {"step": "failed", "after": "upstream_failed"})
        error = run.tasks["step"].error
        assert error is not None
        assert error.error_type == "Quarantined"
        assert (await harness.run(innocent)).state == "succeeded"
        assert ran == ["fine"]
        (failed,) = await harness.events(type="dev.tidemill.run.failed.v1")
        assert failed.data["error"]["reason"].startswith("quarantined: the process died 3 times")
        await check_store(harness, ended=2)
