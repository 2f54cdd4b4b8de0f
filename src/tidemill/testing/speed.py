"""Speed against a baseline that is measured beside it: what the machine does meanwhile, it does to both."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Speed", "compare_speed"]


@dataclass(frozen=True, slots=True)
class Speed:
    """Pairs of measurements, in seconds."""

    ours: Sequence[float]
    baseline: Sequence[float]

    @property
    def ratio(self) -> float:
        """Median of the ratios of each pair: 2.0 is twice as slow as the baseline."""
        return statistics.median(a / b for a, b in zip(self.ours, self.baseline, strict=True))

    def __str__(self) -> str:
        ratios = sorted(a / b for a, b in zip(self.ours, self.baseline, strict=True))
        return (
            f"{self.ratio:.2f} times the baseline (median of {len(ratios)} pairs, {ratios[0]:.2f} to {ratios[-1]:.2f}; "
            f"ours {statistics.median(self.ours) * 1000:.3f} ms, "
            f"baseline {statistics.median(self.baseline) * 1000:.3f} ms)"
        )


def compare_speed(
    ours: Callable[[], Any],
    baseline: Callable[[], Any],
    *,
    at_most: float | None = None,
    rounds: int = 15,
) -> Speed:
    """Time both functions `rounds` times in pairs, in turns of who is first, after one round that does not count.

    Raises `AssertionError` when ours takes more than `at_most` times as long by the median of the pairs' ratios.
    Coroutine functions run in an event loop of their own; a harness that they use is made inside them.
    """
    if rounds < 1:
        raise ValueError("rounds must be at least 1")
    mine: list[float] = []
    theirs: list[float] = []
    with asyncio.Runner() as runner, _without_collecting():
        for number in range(rounds + 1):
            pairs = [(ours, mine), (baseline, theirs)]
            for function, seconds in pairs if number % 2 else reversed(pairs):
                seconds.append(_time(function, runner))
    found = Speed(mine[1:], theirs[1:])
    if at_most is not None and found.ratio > at_most:
        raise AssertionError(f"too slow: {found}; at most {at_most:g} times was asked for")
    return found


def _time(function: Callable[[], Any], runner: asyncio.Runner) -> float:
    begin = time.perf_counter()
    if inspect.iscoroutinefunction(function):
        runner.run(function())
    else:
        function()
    return time.perf_counter() - begin


@contextlib.contextmanager
def _without_collecting() -> Iterator[None]:
    """The collector, which goes through all of the test's process, strikes neither of the two."""
    was_collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_collecting:
            gc.enable()
