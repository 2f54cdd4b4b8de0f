"""How long a task takes, learned from attempts that succeeded: a small sketch that forgets. Pure.

1. Bounded: a `Sketch` counts durations in buckets that are 10 % wide, of which there are `_BUCKETS` (from a microsecond
   to ten years), in practice ten or twenty; a `TaskModel` has one for all attempts and at most `_SIZES` by input size.
   What is stored has at most `_STORED` buckets each: a few hundred bytes for a task, 12 KiB at the very most.
2. Robust: only percentiles are asked for. They are right to half a bucket (5 %), whatever the outliers are.
3. What is old weighs less: half after `_HALF_LIFE` further attempts. And a task that has changed is learned anew at
   once: `_STREAK` attempts in a row on the same side of nine in ten earlier ones leave those an eighth of their weight.
4. Nothing depends on the time of day or on chance: the same durations in the same order give the same sketch.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

__all__ = ["DEFAULT_SECONDS", "WIDTH", "Sketch", "TaskModel", "expected_seconds", "size_of"]

#: What a task is taken to need while nothing is known of it or of its DAG, in seconds.
DEFAULT_SECONDS = 1.0
#: After a task's name: what is known is how many task runs its map has, a second for each.
WIDTH = "[]"

_STEP = math.log(1.1)
_BUCKETS = 352
_STORED = 48
#: Attempts after which what was known weighs half.
_HALF_LIFE = 20
_GROWTH = 2 ** (1 / _HALF_LIFE)
#: Weights are scaled back before they are this large.
_LARGE = 1e9
#: Attempts in a row outside of what is usual that tell of a changed task.
_STREAK = 5
#: Nothing is unusual before this many.
_FEW = 8
#: What remains of earlier weights then.
_REMAINS = 1 / 8
#: Buckets of sizes; each is four times as wide as the one before.
_SIZES = 24
#: A bucket of sizes with less than this many attempts says nothing.
_ENOUGH = 3


class Sketch:
    """Durations in microseconds, the later ones with more weight."""

    __slots__ = ("_high", "_low", "_next", "_side", "_streak", "_weights", "count")

    def __init__(self) -> None:
        #: Durations ever added.
        self.count = 0
        self._weights: dict[int, float] = {}
        #: Weight of the next one.
        self._next = 1.0
        #: Buckets between which the middle eight tenths lie, as of the last look.
        self._low, self._high = 0, _BUCKETS
        self._side = 0
        self._streak = 0

    def add(self, microseconds: int) -> None:
        """Learn one duration; what a clock that was set back gives counts as none at all."""
        bucket = min(int(math.log(microseconds) / _STEP), _BUCKETS - 1) if microseconds > 1 else 0
        self._watch(bucket)
        self._weights[bucket] = self._weights.get(bucket, 0.0) + self._next
        self.count += 1
        self._next *= _GROWTH
        if self._next > _LARGE:
            self._rescale()
        if self.count % _FEW == 0 and not self._streak:
            self._low, self._high = self._bucket(0.1), self._bucket(0.9)

    def quantile(self, share: float) -> float | None:
        """The duration that `share` (0 to 1) of the attempts do not exceed, in microseconds; None: none is known."""
        if not self._weights:
            return None
        return math.exp((self._bucket(share) + 0.5) * _STEP)

    def encoded(self) -> list[Any]:
        """As plain values: the count, then bucket and weight in turn, the heaviest buckets only."""
        kept = sorted(self._weights.items(), key=lambda one: -one[1])[:_STORED]
        return [
            self.count,
            *(value for bucket, weight in sorted(kept) for value in (bucket, weight / self._next)),
        ]

    @classmethod
    def decoded(cls, values: Sequence[Any]) -> Sketch:
        """The sketch that `encoded` gave; raises `ValueError` for anything else."""
        sketch = cls()
        try:
            sketch.count = int(values[0])
            for bucket, weight in zip(values[1::2], values[2::2], strict=True):
                if not (0 <= int(bucket) < _BUCKETS and 0 <= float(weight) < math.inf):
                    raise ValueError(bucket)
                sketch._weights[int(bucket)] = float(weight)
        except (TypeError, IndexError, KeyError) as error:
            raise ValueError("not a sketch") from error
        if sketch.count >= _FEW and sketch._weights:
            sketch._low, sketch._high = sketch._bucket(0.1), sketch._bucket(0.9)
        return sketch

    def _bucket(self, share: float) -> int:
        left = share * sum(self._weights.values())
        bucket = 0
        for bucket in sorted(self._weights):
            left -= self._weights[bucket]
            if left <= 1e-12:
                break
        return bucket

    def _watch(self, bucket: int) -> None:
        side = (bucket > self._high + 1) - (bucket < self._low - 1)
        self._streak = self._streak + 1 if side and side == self._side else abs(side)
        self._side = side
        if self._streak < _STREAK or self.count < _FEW:
            return
        for one in self._weights:
            if (one > self._high + 1) - (one < self._low - 1) != side:
                self._weights[one] *= _REMAINS
        self._streak = 0
        self._low, self._high = self._bucket(0.1), self._bucket(0.9)

    def _rescale(self) -> None:
        least = 1e-6 * sum(self._weights.values())
        self._weights = {
            bucket: weight / self._next for bucket, weight in self._weights.items() if weight >= least
        }
        self._next = 1.0


class TaskModel:
    """How long one task takes, by the size of its input where that is known."""

    __slots__ = ("_sizes", "whole")

    def __init__(self) -> None:
        #: All attempts, whatever their sizes.
        self.whole = Sketch()
        #: Bucket of sizes → mean of the sizes' logarithms, and the durations.
        self._sizes: dict[int, tuple[float, Sketch]] = {}

    def add(self, microseconds: int, size: float | None = None) -> None:
        """Learn how long an attempt took, and the size of its input."""
        self.whole.add(microseconds)
        if size is None or not 0 <= size < math.inf:
            return
        place = math.log2(size + 1)
        bucket = min(int(place / 2), _SIZES - 1)
        mean, sketch = self._sizes.get(bucket) or (place, Sketch())
        sketch.add(microseconds)
        mean += (place - mean) * max(1 / sketch.count, 1 / _HALF_LIFE)
        self._sizes[bucket] = (mean, sketch)

    def seconds(self, share: float = 0.5, *, size: float | None = None) -> float | None:
        """The duration that `share` of the attempts do not exceed; for that size of input where it is given.

        Between sizes that were seen the durations lie on straight lines, both on logarithmic scales; beyond them
        they go on with the median slope, which is taken to be between 0 and 2. None: nothing is known.
        """
        found = self._by_size(share, size) if size is not None and 0 <= size < math.inf else None
        if found is None:
            found = self.whole.quantile(share)
        return None if found is None else found / 1e6

    def _by_size(self, share: float, size: float) -> float | None:
        points: list[tuple[float, float]] = []
        for mean, sketch in self._sizes.values():
            if sketch.count >= _ENOUGH and (found := sketch.quantile(share)) is not None:
                points.append((mean, math.log2(found)))
        if not points:
            return None
        points.sort()
        return 2 ** min(_on_line(points, math.log2(size + 1)), 64.0)

    def encoded(self) -> bytes:
        """The stored form, JSON text."""
        sizes = [[bucket, mean, *sketch.encoded()] for bucket, (mean, sketch) in sorted(self._sizes.items())]
        return orjson.dumps([1, self.whole.encoded(), sizes])

    @classmethod
    def decoded(cls, body: bytes) -> TaskModel:
        """The model that `encoded` gave; raises `ValueError` for anything else (a newer form: learn anew)."""
        model = cls()
        try:
            form, whole, sizes = orjson.loads(body)
            if form != 1:
                raise ValueError(form)
            model.whole = Sketch.decoded(whole)
            for bucket, mean, *values in sizes[:_SIZES]:
                model._sizes[int(bucket)] = (float(mean), Sketch.decoded(values))
        except (TypeError, KeyError) as error:
            raise ValueError("not what is known of a task") from error
        return model


def expected_seconds(
    tasks: Sequence[str], models: Mapping[str, TaskModel], *, sizes: Mapping[str, float] | None = None
) -> list[float]:
    """What each of these tasks is expected to take, the median attempt of each.

    One that nothing is known of is taken to need the median of the others, or `DEFAULT_SECONDS`.
    """
    given = sizes or {}
    found = [
        None if (model := models.get(task)) is None else model.seconds(size=given.get(task)) for task in tasks
    ]
    known = sorted(one for one in found if one is not None)
    default = known[len(known) // 2] if known else DEFAULT_SECONDS
    return [default if one is None else one for one in found]


def size_of(value: object) -> float | None:
    """The size of an argument: a number as it is, the length of a text, list or object; None: it has none."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float):
        return abs(float(value)) if abs(value) < 1e300 else None
    try:
        return float(len(value))  # type: ignore[arg-type]
    except TypeError:
        return None


def _on_line(points: Sequence[tuple[float, float]], at: float) -> float:
    place = bisect_left(points, (at, -math.inf))
    if 0 < place < len(points):
        (x, y), (further, then) = points[place - 1], points[place]
        return y if further == x else y + (then - y) * (at - x) / (further - x)
    x, y = points[0] if not place else points[-1]
    return y + _slope(points) * (at - x)


def _slope(points: Sequence[tuple[float, float]]) -> float:
    """The median of the slopes between any two (Theil and Sen): a single odd size does not bend it."""
    slopes = sorted(
        (y - before) / (x - earlier)
        for place, (x, y) in enumerate(points)
        for earlier, before in points[:place]
        if x > earlier
    )
    return min(max(slopes[len(slopes) // 2], 0.0), 2.0) if slopes else 0.0
