"""Time as a dependency: stages ask a `Clock`, so that tests run them under virtual time.

Wall-clock time is stored (microseconds since the epoch, UTC); waiting uses monotonic time, so that a jump of
the wall clock neither skips nor repeats anything that is already waiting.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Protocol

__all__ = ["Clock", "SystemClock", "Wakeup", "from_us", "rfc3339", "to_us"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Wakeup(Protocol):
    """A call planned with `Clock.call_later`."""

    def cancel(self) -> None:
        """Forget the call; nothing happens if it was made already."""


class Clock(Protocol):
    """Tells the time and wakes callers."""

    def now_us(self) -> int:
        """Microseconds since the epoch, UTC."""

    def steady_us(self) -> int:
        """Microseconds since some moment before this process began to ask; nobody can set it."""

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Wakeup:
        """Call `callback` in the event loop, never before `seconds` have passed."""

    async def sleep(self, seconds: float) -> None:
        """Return when `seconds` have passed."""


class SystemClock:
    """The machine's clocks."""

    def now_us(self) -> int:
        return time.time_ns() // 1000

    def steady_us(self) -> int:
        return time.monotonic_ns() // 1000

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Wakeup:
        return asyncio.get_running_loop().call_later(_not_early(seconds), callback)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(_not_early(seconds))


def _not_early(seconds: float) -> float:
    """A delay that a loop which counts in whole milliseconds, from its last turn on, does not cut short."""
    return math.ceil(seconds * 1000) / 1000 + 0.001 if seconds > 0 else 0.0


def to_us(at: datetime) -> int:
    """Microseconds since the epoch of an aware datetime, exactly."""
    return (at - _EPOCH) // timedelta(microseconds=1)


def from_us(at_us: int) -> datetime:
    """The aware UTC datetime of `at_us` microseconds since the epoch, exactly."""
    return _EPOCH + timedelta(microseconds=at_us)


def rfc3339(at_us: int) -> str:
    """`at_us` as RFC 3339 text in UTC with microseconds, as the API and our events carry it."""
    seconds, microseconds = divmod(at_us, 1_000_000)
    return f"{_rfc3339_seconds(seconds)}.{microseconds:06}Z"


@lru_cache(maxsize=256)
def _rfc3339_seconds(seconds: int) -> str:
    # Times that are written together are mostly of the same few seconds.
    return (_EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")
