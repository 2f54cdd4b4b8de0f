"""Faults on the user's own workflows: from one seed, from a marker, and one by one."""

from __future__ import annotations

from typing import Any

import pytest

from tidemill import Context, dag, task
from tidemill.errors import DiskFull, StoreUnavailable
from tidemill.testing import Chaos, FillDisk, Harness, HarnessError, LoseAnswers, MakeHarness
from tidemill.testing.chaos import parse_chaos

effects: list[tuple[str, int]] = []


@task
async def first(number: int, context: Context) -> int:
    effects.append((context.idempotency_key, context.attempt))
    return number


@task(retries=2)
def second(number: int) -> int:
    return number + 1


@dag
def pair(number: int = 0) -> Any:
    return second(first(number))


TRIGGERS = """
    sources:
      - name: inbox
        files: {path: inbox}
      - name: hook
        webhook: {event: {type: go, source: /hook, id: $.body.id}, data: $.body.n}
    triggers:
      - {name: go, dag: pair, pattern: {type: [go]}, parameters: {number: $.data}}
      - {name: landed, dag: pair, pattern: {type: [dev.tidemill.file.landed.v1]}}
    subscriptions:
      - {name: ends, filters: [{prefix: {type: dev.tidemill.run.}}], webhook: {url: "https://x.example.com/"}}
"""


async def play(chaos: Chaos, *, files: bool = True) -> tuple[dict[str, int], list[bytes], int]:
    """A story under chaos: what struck, the results, and how many deliveries were accepted."""
    async with Harness(dags=[pair], triggers=TRIGGERS, chaos=chaos) as harness:
        for number in range(8):
            await harness.send(type="go", data=number)
        answer = await harness.webhook("hook", json={"id": "w", "n": 100})
        if files:  # what the file system numbers them is no matter of a seed
            await harness.drop("inbox/a.txt", b"x")
        else:
            await harness.send(type="go", data=0)
        started = await harness.start("pair", number=50)
        await harness.run_until_done()
        await harness.advance(hours=3)

        assert answer.status == 202
        runs = await harness.expect_runs("pair", 11)
        assert started in {run.run_id for run in runs}
        results = sorted(run.result("second") for run in runs)
        assert results == [1, 1, 2, 3, 4, 5, 6, 7, 8, 51, 101]
        ended = {one.json()["subject"] for one in await harness.deliveries("ends", accepted=True)}
        assert ended == {run.run_id for run in runs}
        assert harness.misfortune is not None
        history = [body for run in runs for _, _, body in run.history]
        return dict(harness.misfortune.struck), history, len(await harness.deliveries("ends"))


@pytest.mark.parametrize("seed", range(6))
async def test_nothing_is_lost_and_nothing_is_started_twice_whatever_strikes(seed: int) -> None:
    struck, _, _ = await play(
        Chaos(seed=seed, kill=0.05, disk_full=0.05, lost_answer=0.05, duplicate=0.3, reorder=0.3, delay=0.3)
    )

    assert len(struck) >= 4


@pytest.mark.parametrize("kind", ["kill", "disk_full", "lost_answer", "duplicate", "reorder", "delay"])
async def test_each_kind_of_fault_strikes_by_itself(kind: str) -> None:
    struck, _, _ = await play(Chaos(seed=3, **{kind: 0.3}))  # type: ignore[arg-type]

    assert set(struck) == {kind}


async def test_same_seed_strikes_at_the_same_places() -> None:
    chaos = Chaos(seed=11, kill=0.05, lost_answer=0.05, duplicate=0.2, delay=0.3)

    first_time, second_time = await play(chaos, files=False), await play(chaos, files=False)

    assert first_time == second_time


async def test_kill_makes_a_task_be_called_again_with_the_same_key() -> None:
    effects.clear()
    struck, _, _ = await play(Chaos(seed=2, kill=0.2))

    again = [key for key, attempt in effects if attempt > 1]
    assert struck["kill"] >= 3
    assert again
    assert {key for key, _ in effects} >= set(again)


async def test_delayed_event_has_no_position_yet(tidemill_harness: MakeHarness) -> None:
    async with tidemill_harness(
        dags=[pair], triggers=TRIGGERS, chaos=Chaos(delay=1.0, delay_seconds=100, limit=1)
    ) as harness:
        late = await harness.send(type="go", data=1)
        soon = await harness.send(type="go", data=2)
        await harness.run_until_idle()
        assert (late, soon) == (0, 1)
        await harness.expect_run("pair")
        await harness.advance(100)
        await harness.expect_runs("pair", 2)


async def test_crash_at_task_leaves_its_start_on_disk_and_no_more(tidemill_harness: MakeHarness) -> None:
    effects.clear()
    async with tidemill_harness(dags=[pair]) as harness:
        run_id = await harness.start("pair", number=1)
        harness.crash_at_task("pair.second")
        await harness.run_until_idle()
        assert not harness.is_running
        await harness.restart()
        assert (await harness.run(run_id)).tasks["second"].attempts == 1
        await harness.run_until_done()

        run = await harness.expect_run("pair", result=2)
        assert run.tasks["second"].attempts == 2
        assert len(effects) == 1


async def test_full_disk_takes_nothing_and_says_so(tidemill_harness: MakeHarness) -> None:
    async with tidemill_harness(dags=[pair], triggers=TRIGGERS, faults=[FillDisk("append", 1)]) as harness:
        with pytest.raises(DiskFull):
            await harness.send(type="go", data=1)
        assert [event for event in await harness.events() if event.type == "go"] == []
        harness.faults.append(FillDisk("record", 3))
        await harness.send(type="go", data=1)
        await harness.run_until_done()

        await harness.expect_run("pair", result=2)


async def test_faults_without_chaos_are_the_tests_own_to_handle(tidemill_harness: MakeHarness) -> None:
    async with tidemill_harness(dags=[pair], triggers=TRIGGERS, faults=[LoseAnswers("append")]) as harness:
        with pytest.raises(StoreUnavailable):
            await harness.send(type="go", data=1)
        harness.crash_at("append.before_commit")
        with pytest.raises(HarnessError, match="crashed before it answered"):
            await harness.send(type="go", data=2)
        assert not harness.is_running


def test_chaos_is_written_as_on_the_command_line() -> None:
    assert parse_chaos("kill=0.1, duplicate=0.2,limit=3", seed=4) == Chaos(
        seed=4, kill=0.1, duplicate=0.2, limit=3
    )
    with pytest.raises(ValueError, match="names are kill"):
        parse_chaos("explode=1", seed=0)
    with pytest.raises(ValueError, match="from 0 to 1"):
        parse_chaos("kill=2", seed=0)
