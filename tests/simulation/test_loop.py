"""The loop without a machine: its own time, its own order, and processes that can be killed between any two steps."""

from __future__ import annotations

import asyncio
import random

import pytest

from tidemill.testing.simulation.clock import SimulatedClock
from tidemill.testing.simulation.loop import NothingLeft, SimulatedLoop
from tidemill.testing.simulation.process import Process


def make_loop(seed: str = "1", *, disorder: float = 1.0) -> SimulatedLoop:
    return SimulatedLoop(random.Random(seed), disorder=disorder)


def test_time_passes_only_when_nobody_is_ready() -> None:
    loop = make_loop()

    loop.run_until_complete(asyncio.sleep(86_400))

    assert 86_400 <= loop.time() < 86_401
    loop.close()


def test_timers_are_never_early() -> None:
    loop = make_loop()
    clock = SimulatedClock(loop)
    called: list[int] = []

    async def wait() -> None:
        for number in range(50):
            begun = loop.now_us
            await clock.sleep(number / 7)
            called.append(loop.now_us - begun - -int(-number / 7 * 1_000_000 // 1))

    loop.run_until_complete(wait())

    assert len(called) == 50
    assert min(called) >= 0
    loop.close()


@pytest.mark.parametrize("disorder", [0.0, 1.0])
def test_order_follows_from_the_seed(disorder: float) -> None:
    def order(seed: str) -> tuple[list[int], str]:
        loop = make_loop(seed, disorder=disorder)
        seen: list[int] = []

        async def note(number: int) -> None:
            seen.append(number)

        async def all_of_them() -> None:
            await asyncio.gather(*(note(number) for number in range(20)))

        loop.run_until_complete(all_of_them())
        loop.close()
        return seen, loop.trace

    assert order("1") == order("1")
    assert (order("1")[0] == list(range(20))) is (disorder == 0.0)
    assert (order("1") == order("2")) is (disorder == 0.0)


def test_killed_process_makes_no_further_step_and_the_world_goes_on() -> None:
    loop = make_loop()
    process = Process(1)
    steps: list[str] = []

    async def work() -> None:
        try:
            while True:
                steps.append("work")
                await asyncio.sleep(1)
        finally:
            steps.append("tidied")

    async def world() -> None:
        loop.create_task(work(), context=process.context)
        await asyncio.sleep(2.5)
        process.kill()
        await asyncio.sleep(10)

    loop.run_until_complete(world())

    assert steps == ["work"] * 3
    loop.bury(process)
    assert not process.unfinished()
    loop.close()


def test_process_dies_after_its_steps() -> None:
    loop = make_loop()
    process = Process(1, steps=5)
    turns: list[int] = []

    async def work() -> None:
        while True:
            turns.append(loop.steps)
            await asyncio.sleep(0)

    async def world() -> None:
        loop.create_task(work(), context=process.context)
        await asyncio.sleep(1)

    loop.run_until_complete(world())

    assert len(turns) == 5
    assert process.is_dead
    loop.bury(process)
    loop.close()


def test_whoever_waits_for_ever_ends_the_simulation() -> None:
    loop = make_loop()
    process = Process(0)
    task = loop.create_task(asyncio.Event().wait(), context=process.context)

    with pytest.raises(NothingLeft):
        loop.run_until_complete(task)

    loop.bury(process)
    loop.close()


def test_threads_are_refused() -> None:
    loop = make_loop()

    with pytest.raises(RuntimeError, match="one thread"):
        loop.run_until_complete(asyncio.to_thread(print))

    loop.close()


def test_jump_moves_the_wall_clock_and_no_timer() -> None:
    loop = make_loop()
    clock = SimulatedClock(loop)
    before = clock.now_us()

    clock.jump(-3600)
    loop.run_until_complete(clock.sleep(2))

    assert -3598.1 < (clock.now_us() - before) / 1_000_000 < -3597.9
    assert 2 <= loop.time() < 2.1
    loop.close()
