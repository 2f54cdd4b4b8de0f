"""A clock of its own for each stage, which tells whether the stage sleeps."""

from __future__ import annotations

from collections.abc import Callable

from tidemill.clock import Clock, Wakeup

__all__ = ["StageClock"]


class StageClock:
    """Another clock's time; counts who sleeps."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        #: Sleepers that wait for time to pass.
        self.sleeping = 0

    def now_us(self) -> int:
        return self._clock.now_us()

    def steady_us(self) -> int:
        return self._clock.steady_us()

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Wakeup:
        return self._clock.call_later(seconds, callback)

    async def sleep(self, seconds: float) -> None:
        self.sleeping += 1
        try:
            await self._clock.sleep(seconds)
        finally:
            self.sleeping -= 1
