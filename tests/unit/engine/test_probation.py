"""Who died with a killer is not taken for one: runs on their last life begin one after the other."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from tests.unit.engine.checks import check_store

from tidemill import Context, dag, task
from tidemill.engine.live import LiveRun
from tidemill.engine.probation import Probation
from tidemill.testing.clock import ManualClock
from tidemill.testing.harness import MakeHarness


class Court:
    """A probation, what it began, and runs to put on it."""

    def __init__(self, names: str) -> None:
        self.clock = ManualClock()
        self.begun: list[tuple[LiveRun, int]] = []
        self.probation = Probation(
            clock=self.clock, begin=lambda live, index: self.begun.append((live, index))
        )
        self.runs = [cast(LiveRun, name) for name in names]


def test_suspects_begin_their_held_tasks_in_turn() -> None:
    court = Court("abc")
    a, b, c = court.runs

    court.probation.enter([a, b], others=False)
    held = [court.probation.holds(live, index) for live, index in ((a, 0), (b, 0), (b, 1), (c, 0))]
    court.probation.leave(a)

    assert held == [False, True, True, False]
    assert court.begun == [(b, 0), (b, 1)]
    assert not court.probation.holds(b, 2)


def test_first_turn_waits_until_the_other_runs_have_lived_for_a_while() -> None:
    court = Court("ab")
    a, b = court.runs

    court.probation.enter([a, b], others=True)
    held = [court.probation.holds(live, 0) for live in (a, b)]
    court.clock.advance(0.9)
    early = list(court.begun)
    court.clock.advance(0.2)

    assert held == [True, True]
    assert early == []
    assert court.begun == [(a, 0)]


def test_turn_of_a_run_that_kills_nobody_ends_by_itself_and_it_is_held_no_more() -> None:
    court = Court("ab")
    a, b = court.runs

    court.probation.enter([a, b], others=False)
    assert court.probation.holds(b, 0)
    court.clock.advance(10.1)

    assert court.begun == [(b, 0)]
    assert not court.probation.holds(a, 1)


def test_run_that_is_lost_before_its_turn_is_passed_over() -> None:
    court = Court("abc")
    a, b, c = court.runs

    court.probation.enter([a, b, c], others=False)
    assert court.probation.holds(b, 0)
    assert court.probation.holds(c, 0)
    court.probation.leave(b)
    court.probation.leave(a)

    assert court.begun == [(c, 0)]


async def test_only_one_run_is_quarantined_for_the_last_of_the_deaths_that_several_shared(
    tidemill_harness: MakeHarness,
) -> None:
    go = asyncio.Event()
    begun: list[str] = []

    @task
    async def wait(context: Context) -> None:
        begun.append(context.run_id)
        await go.wait()

    @dag
    def work() -> Any:
        return wait()

    async with tidemill_harness(dags=[work], max_recoveries=2) as harness:
        runs = [await harness.start("work") for _ in range(5)]
        for _ in range(2):
            await harness.run_until_idle(attempts=False)
            assert len(begun) == 5
            begun.clear()
            await harness.kill()
            await harness.restart()
        await harness.run_until_idle(attempts=False)
        (killer,) = begun
        await harness.kill()
        await harness.restart()
        go.set()
        await harness.run_until_done()

        states = {run: (await harness.run(run)).state for run in runs}
        assert states.pop(killer) == "failed"
        assert set(states.values()) == {"succeeded"}
        await check_store(harness, ended=5)
