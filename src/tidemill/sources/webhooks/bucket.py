"""A token bucket in memory: so many requests on average, so many at once. It never waits, it only says no."""

from __future__ import annotations

import math

from tidemill.clock import Clock
from tidemill.errors import Overloaded
from tidemill.project.endpoint import Rate

__all__ = ["Bucket"]


class Bucket:
    """One endpoint's allowance in this process; each node of a fleet has its own."""

    def __init__(self, rate: Rate, *, clock: Clock) -> None:
        self.rate = rate
        self._clock = clock
        self._tokens = float(rate.burst)
        self._at_us = clock.now_us()

    def take(self) -> None:
        """Take one; raises `Overloaded` (`rate_limited`) with the seconds after which there is one again."""
        now_us = self._clock.now_us()
        # A wall clock that was put back gives nothing, and takes nothing away.
        passed = max(0, now_us - self._at_us) / 1_000_000
        self._at_us = now_us
        self._tokens = min(float(self.rate.burst), self._tokens + passed * self.rate.per_second)
        if self._tokens < 1:
            wait = (1 - self._tokens) / self.rate.per_second
            raise Overloaded(
                "rate_limited",
                "more requests than this endpoint takes; nothing was stored",
                retry_after=max(1, math.ceil(wait)),
            )
        self._tokens -= 1
