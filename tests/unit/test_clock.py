"""The machine's clock keeps the promise that timers are never early, on the loop that the service runs on."""

from __future__ import annotations

import asyncio
import time

import uvloop

from tidemill.clock import SystemClock


def test_timers_are_never_early() -> None:
    async def measure() -> list[float]:
        clock, loop = SystemClock(), asyncio.get_running_loop()
        early: list[float] = []
        for turn in range(5):
            done = []
            for step in range(40):
                seconds = 0.001 + 0.000_05 * step + 0.000_013 * turn
                future, begun = loop.create_future(), time.perf_counter()
                clock.call_later(seconds, lambda f=future: f.set_result(time.perf_counter()))
                done.append((future, begun, seconds))
            early += [begun + seconds - await future for future, begun, seconds in done]
        return early

    for run in (uvloop.run, asyncio.run):
        assert max(run(measure())) <= 0


def test_timer_that_is_due_is_not_put_off() -> None:
    async def play() -> list[str]:
        order: list[str] = []
        SystemClock().call_later(-5, lambda: order.append("due"))
        await SystemClock().sleep(0)
        await asyncio.sleep(0.001)
        return order

    assert uvloop.run(play()) == ["due"]
