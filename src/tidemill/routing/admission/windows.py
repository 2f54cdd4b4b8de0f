"""Windows of time that slide: how many of something happened in the last period. Pure."""

from __future__ import annotations

from bisect import bisect_right

__all__ = ["room"]


def room(times: list[int], limit: int, period: int, at: int) -> bool:
    """Whether another one may happen at `at`; drops what has left the window from `times`, which rise.

    Times after `at` (the clock was set back) count as `at`, so that nothing waits longer than one period.
    """
    if times and times[-1] > at:
        start = bisect_right(times, at)
        times[start:] = [at] * (len(times) - start)
    gone = bisect_right(times, at - period)
    if gone:
        del times[:gone]
    return len(times) < limit
