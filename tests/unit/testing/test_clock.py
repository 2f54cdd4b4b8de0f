"""The virtual clock: order, exactness, sleepers."""

from __future__ import annotations

import asyncio

import pytest

from tidemill.clock import Clock
from tidemill.testing.clock import START_US, ManualClock


def test_clock_fulfils_the_protocol() -> None:
    clock: Clock = ManualClock()

    assert clock.now_us() == START_US


def test_advance_runs_due_calls_in_order_at_their_own_time() -> None:
    clock = ManualClock(0)
    seen: list[tuple[str, int]] = []
    clock.call_later(2, lambda: seen.append(("second", clock.now_us())))
    clock.call_later(1, lambda: seen.append(("first", clock.now_us())))
    clock.call_later(2, lambda: seen.append(("third", clock.now_us())))
    clock.call_later(3.1, lambda: seen.append(("late", clock.now_us())))

    clock.advance(3)

    assert seen == [("first", 1_000_000), ("second", 2_000_000), ("third", 2_000_000)]
    assert clock.now_us() == 3_000_000
    assert clock.planned == 1
    assert clock.next_seconds == pytest.approx(0.1)


def test_advance_runs_what_a_due_call_plans_within_the_time() -> None:
    clock = ManualClock(0)
    ticks: list[int] = []

    def tick() -> None:
        ticks.append(clock.now_us())
        clock.call_later(0.1, tick)

    clock.call_later(0.1, tick)

    clock.advance(0.5)

    assert ticks == [100_000, 200_000, 300_000, 400_000, 500_000]


def test_cancelled_call_is_never_made() -> None:
    clock = ManualClock()
    seen: list[str] = []
    wakeup = clock.call_later(1, lambda: seen.append("no"))

    wakeup.cancel()
    clock.advance(2)

    assert seen == []
    assert clock.planned == 0
    assert clock.next_seconds is None


def test_error_of_a_call_is_raised_at_its_time() -> None:
    clock = ManualClock(0)

    def fail() -> None:
        raise ValueError("no")

    clock.call_later(1, fail)

    with pytest.raises(ValueError, match="no"):
        clock.advance(5)

    assert clock.now_us() == 1_000_000


async def test_sleep_wakes_when_its_time_has_come_and_not_before() -> None:
    clock = ManualClock()
    async with asyncio.TaskGroup() as tasks:
        sleeper = tasks.create_task(clock.sleep(5))
        await clock.wait_for_planned()

        await clock.run_for(4.999999)
        early = sleeper.done()
        await clock.run_for(0.000001)

    assert not early
    assert sleeper.done()


async def test_run_for_lets_a_sleeper_sleep_again_within_the_time() -> None:
    clock = ManualClock(0)
    woken: list[int] = []

    async def work() -> None:
        for _ in range(4):
            await clock.sleep(1)
            woken.append(clock.now_us())

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(work())
        await clock.run_for(4)

    assert woken == [1_000_000, 2_000_000, 3_000_000, 4_000_000]


async def test_cancelled_sleeper_leaves_nothing_planned() -> None:
    clock = ManualClock()
    async with asyncio.TaskGroup() as tasks:
        sleeper = tasks.create_task(clock.sleep(5))
        await clock.wait_for_planned()

        sleeper.cancel()

    assert clock.planned == 0


async def test_call_due_now_is_made_by_the_loop_without_advancing() -> None:
    clock = ManualClock()
    called = asyncio.Event()

    clock.call_later(0, called.set)
    await asyncio.wait_for(called.wait(), 5)

    assert clock.now_us() == START_US


def test_jump_moves_the_wall_clock_and_wakes_nobody() -> None:
    clock = ManualClock(0)
    seen: list[int] = []
    clock.call_later(10, lambda: seen.append(clock.now_us()))

    clock.jump(-3600)
    clock.advance(9)
    early = list(seen)
    clock.advance(1)

    assert early == []
    assert seen == [-3590 * 1_000_000]
