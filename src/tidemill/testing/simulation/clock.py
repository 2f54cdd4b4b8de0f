"""The machine's clocks of a simulation: monotonic time is the loop's, the wall clock may jump."""

from __future__ import annotations

import math
from collections.abc import Callable

from tidemill.clock import Wakeup
from tidemill.testing.clock import START_US
from tidemill.testing.simulation.loop import SimulatedLoop

__all__ = ["SimulatedClock"]


class SimulatedClock:
    """See `tidemill.clock.Clock`."""

    def __init__(self, loop: SimulatedLoop, *, start_us: int = START_US) -> None:
        self._loop = loop
        self._start_us = start_us
        #: How far the wall clock was set forward, in microseconds.
        self.jumped_us = 0

    def now_us(self) -> int:
        return self._start_us + self.jumped_us + self._loop.now_us

    def steady_us(self) -> int:
        return self._loop.now_us

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Wakeup:
        if seconds <= 0:
            return self._loop.call_soon(callback)
        return self._loop.call_at_us(self._loop.now_us + math.ceil(seconds * 1_000_000), callback)

    async def sleep(self, seconds: float) -> None:
        woken = self._loop.create_future()
        wakeup = self.call_later(seconds, lambda: None if woken.done() else woken.set_result(None))
        try:
            await woken
        finally:
            wakeup.cancel()

    def jump(self, seconds: float) -> None:
        """Set the wall clock forward or back, as an operator would."""
        self.jumped_us += round(seconds * 1_000_000)
