"""Task runs of mapped tasks: how many, with which items, and what becomes of the whole. Pure.

Task runs of a map are numbered from 0 and named `load[3]`. They are released to run in windows, and their results
become one list when the last one has ended, so that memory holds what is under way and one text per result.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any

import orjson

from tidemill.dag.binding import Results, compile_tree
from tidemill.dag.definition import TaskNode
from tidemill.errors import TaskFailed

__all__ = ["Items", "MapRuns", "SpawnedItems", "items_of", "place_in_name", "required_successes"]

#: Task runs of a map that wait for a slot or run at once, where the task says nothing.
_WINDOW = 1000


class MapRuns:
    """How far the task runs of one mapped task are."""

    __slots__ = (
        "done",
        "failed",
        "first_failed",
        "ranges",
        "released",
        "skipped",
        "succeeded",
        "total",
        "window",
    )

    def __init__(self, base: int, total: int, window: int | None) -> None:
        #: (place, index) from which on task runs follow each other; more than one where some were spawned later.
        self.ranges = [(0, base)]
        self.total = total
        self.window = window or _WINDOW
        #: Those from the first one on that may run, or have.
        self.released = 0
        self.done = 0
        self.succeeded = 0
        self.failed = 0
        self.skipped = 0
        #: Place of a task run that failed.
        self.first_failed: int | None = None

    def index_at(self, place: int) -> int:
        """Index of the task run at `place`."""
        if len(self.ranges) == 1:
            return self.ranges[0][1] + place
        first, base = self.ranges[bisect_right(self.ranges, place, key=lambda one: one[0]) - 1]
        return base + place - first

    def indexes(self) -> Iterator[int]:
        """Indexes of all task runs, by place."""
        ends = [first for first, _ in self.ranges[1:]] + [self.total]
        for (first, base), end in zip(self.ranges, ends, strict=True):
            yield from range(base, base + end - first)

    def grow(self, base: int, count: int) -> None:
        """`count` further task runs, whose indexes begin with `base`."""
        self.ranges.append((self.total, base))
        self.total += count

    @property
    def has_room(self) -> bool:
        """True when one more may be released."""
        return self.released < self.total and self.released - self.done < self.window


class SpawnedItems:
    """The arguments of task runs that were asked for one by one."""

    __slots__ = ("_texts",)

    def __init__(self, texts: Sequence[bytes]) -> None:
        self._texts = texts

    @property
    def count(self) -> int:
        """Task runs."""
        return len(self._texts)

    def at(self, place: int) -> dict[str, Any]:
        """The arguments of one task run, out of reach of the other ones."""
        found: dict[str, Any] = orjson.loads(self._texts[place])
        return found


class Items:
    """The items of a map, as arguments by parameter."""

    __slots__ = ("_is_product", "_lists", "_names", "count")

    def __init__(self, names: Sequence[str], lists: Sequence[Sequence[Any]], *, is_product: bool) -> None:
        """Raises `TaskFailed` when lists that go side by side differ in length."""
        self._names = names
        self._lists = lists
        self._is_product = is_product
        sizes = [len(one) for one in lists]
        if not is_product and len(set(sizes)) > 1:
            told = ", ".join(f"{name} has {size}" for name, size in zip(names, sizes, strict=True))
            raise TaskFailed("MapMismatch", f"lists that are mapped side by side differ in length: {told}")
        #: Task runs.
        self.count = math.prod(sizes) if is_product else sizes[0]

    def at(self, place: int) -> dict[str, Any]:
        """The arguments of one task run, out of reach of the other ones."""
        found: dict[str, Any] = {}
        for name, values in zip(reversed(self._names), reversed(self._lists), strict=True):
            if self._is_product:
                place, own = divmod(place, len(values))
            else:
                own = place
            value = values[own]
            found[name] = _copied(value) if type(value) in (list, dict) else value
        return found


def _copied(value: Any) -> Any:
    try:
        return orjson.loads(orjson.dumps(value))
    except TypeError:  # results of other serializers hold what is no JSON
        return deepcopy(value)


def items_of(node: TaskNode, results: Results, parameters: Mapping[str, Any]) -> Items:
    """What a mapped task is called for; raises `TaskFailed` when that is no list or dict."""
    assert node.mapped is not None  # noqa: S101 - only mapped tasks have items
    lists = [_listed(name, tree, results, parameters) for name, tree in node.mapped.values]
    return Items([name for name, _ in node.mapped.values], lists, is_product=node.mapped.is_product)


def _listed(name: str, tree: Any, results: Results, parameters: Mapping[str, Any]) -> Sequence[Any]:
    make = compile_tree(tree)
    value = tree if make is None else make(results, parameters)
    if isinstance(value, Mapping):
        return [list(pair) for pair in value.items()]
    if isinstance(value, list | tuple):
        return value
    found = "null" if value is None else type(value).__name__
    raise TaskFailed("NotMappable", f"{name} is mapped and must be a list or a dict, not {found}")


def required_successes(node: TaskNode, total: int) -> int | None:
    """How many task runs of a map must succeed; None when none may fail."""
    assert node.mapped is not None  # noqa: S101 - only mapped tasks have one
    wanted = node.mapped.min_success
    if wanted is None:
        return None
    return math.ceil(wanted * total) if isinstance(wanted, float) else min(wanted, total)


def place_in_name(name: str) -> tuple[str, int] | None:
    """Task id and place of a task run's name (`load[3]`); None when it is not one of a map."""
    task, bracket, place = name.partition("[")
    if not bracket or not place.endswith("]") or not place[:-1].isascii() or not place[:-1].isdigit():
        return None
    return task, int(place[:-1])
