"""Which of many number ranges hold a number: a centred interval tree. Pure.

The cost of a lookup is the depth of the tree (logarithmic) and what it finds.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from math import isinf
from typing import Generic, TypeVar

__all__ = ["Ranges"]

T = TypeVar("T")
#: Low end, high end, both included, and what is filed under the range.
Range = tuple[float, float, T]


class Ranges(Generic[T]):
    """What is filed under ranges; made once."""

    __slots__ = ("above", "below", "by_high", "by_low", "centre", "highs", "lows")

    def __init__(self, ranges: Sequence[Range[T]]) -> None:
        ends = sorted(end for low, high, _ in ranges for end in (low, high) if not isinf(end))
        self.centre = ends[len(ends) // 2] if ends else 0
        here = [one for one in ranges if one[0] <= self.centre <= one[1]]
        by_low = sorted(here, key=lambda one: one[0])
        by_high = sorted(here, key=lambda one: one[1])
        self.lows, self.by_low = [one[0] for one in by_low], [one[2] for one in by_low]
        self.highs, self.by_high = [one[1] for one in by_high], [one[2] for one in by_high]
        below = [one for one in ranges if one[1] < self.centre]
        above = [one for one in ranges if one[0] > self.centre]
        self.below = Ranges(below) if below else None
        self.above = Ranges(above) if above else None

    def find(self, number: float, found: list[T]) -> None:
        """Add what is filed under the ranges that hold `number`."""
        node: Ranges[T] | None = self
        while node is not None:
            if number <= node.centre:
                found.extend(node.by_low[: bisect_right(node.lows, number)])
                node = node.below
            else:
                found.extend(node.by_high[bisect_left(node.highs, number) :])
                node = node.above
