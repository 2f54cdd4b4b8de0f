"""Looking up an event by its own values: keys → whatever was filed under them. Pure.

At every object the smaller side is walked: the keys that the event has, or those that are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Generic, TypeVar

from tidemill.events.event import JSON, Event
from tidemill.patterns.anchors import Key, Kind, Path
from tidemill.patterns.expression import CONTEXT_ATTRIBUTES, canonical, read_member
from tidemill.patterns.ranges import Ranges

__all__ = ["Probe"]

T = TypeVar("T")

#: Members of the JSON form that are no fields of `Event`.
_COMPUTED = frozenset({"specversion", "data_base64"})


class Probe(Generic[T]):
    """What is filed under keys, found by an event's values; one thing may be found several times."""

    __slots__ = ("_computed", "_context", "_data", "_extensions")

    def __init__(self, filed: Mapping[Key, T]) -> None:
        by_path: dict[Path, list[tuple[Key, T]]] = {}
        for key, one in filed.items():
            by_path.setdefault(key.path, []).append((key, one))
        places = {path: _Place(some) for path, some in by_path.items()}
        # an attribute has nothing below it, so a longer path into one is never found
        attributes = {path[0]: place for path, place in places.items() if len(path) == 1}
        attributes.pop("data", None)
        self._data = _branch_of({path[1:]: place for path, place in places.items() if path[0] == "data"})
        self._context: list[tuple[Callable[[Event], JSON], _Place[T]]] = [
            (attrgetter(name), place) for name, place in attributes.items() if name in CONTEXT_ATTRIBUTES
        ]
        self._computed = [(name, place) for name, place in attributes.items() if name in _COMPUTED]
        self._extensions = {
            name: place
            for name, place in attributes.items()
            if name not in CONTEXT_ATTRIBUTES and name not in _COMPUTED
        }

    def find(self, event: Event) -> list[T]:
        """What is filed under the values of `event`."""
        found: list[T] = []
        for read, place in self._context:
            value = read(event)
            if value is not None:
                place.find(value, found)
        for name, place in self._computed:
            value = read_member(event, name)
            if value is not None:
                place.find(value, found)
        if self._extensions and event.extensions:
            self._find_extensions(event.extensions, found)
        if self._data is not None and event.data is not None:
            self._data.find(event.data, found)
        return found

    def _find_extensions(self, extensions: Mapping[str, JSON], found: list[T]) -> None:
        fewer, more = sorted((self._extensions, extensions), key=len)
        for name in fewer:
            if name in more:
                value, place = extensions[name], self._extensions[name]
                place.find(value, found)
                if not isinstance(value, str):  # filters compare the text form
                    place.find(canonical(value), found)


class _Place(Generic[T]):
    """What is filed under the values at one path."""

    __slots__ = ("_equal", "_prefixes", "_present", "_ranges")

    def __init__(self, filed: Sequence[tuple[Key, T]]) -> None:
        self._equal: dict[JSON, T] = {}
        #: By length of the prefix.
        self._prefixes: dict[int, dict[str, T]] = {}
        self._present: T | None = None
        ranges: list[tuple[float, float, T]] = []
        for key, one in filed:
            match key:
                case Key(kind=Kind.EQUALS, value=value):
                    self._equal[value] = one
                case Key(kind=Kind.PREFIX, value=str(prefix)):
                    self._prefixes.setdefault(len(prefix), {})[prefix] = one
                case Key(kind=Kind.RANGE, value=(low, high)):
                    ranges.append((low, high, one))
                case _:
                    self._present = one
        self._ranges = Ranges(ranges) if ranges else None

    def find(self, value: JSON, found: list[T]) -> None:
        """Add what is filed under the scalar `value`."""
        hit = self._equal.get(value)
        if hit is not None:
            found.append(hit)
        if self._prefixes and isinstance(value, str):
            for length, by_prefix in self._prefixes.items():
                hit = by_prefix.get(value[:length])
                if hit is not None:
                    found.append(hit)
        if self._ranges is not None and (type(value) is int or type(value) is float):
            self._ranges.find(value, found)
        if self._present is not None:
            found.append(self._present)


class _Branch(Generic[T]):
    """One place in `data`, and those below it by key; a dotted key leads several steps down."""

    __slots__ = ("below", "here")

    def __init__(self) -> None:
        self.here: _Place[T] | None = None
        self.below: dict[str, _Branch[T]] = {}

    def find(self, value: JSON, found: list[T]) -> None:
        """Add what is filed under `value`, which is at this place, and under the values below it."""
        kind = type(value)
        if kind is dict:
            if self.below:
                self._find_below(value, found)
        elif kind is list:
            for one in _elements(value):
                self.find(one, found)
        elif self.here is not None:
            self.here.find(value, found)

    def _find_below(self, value: dict[str, JSON], found: list[T]) -> None:
        below = self.below
        if len(below) <= len(value):
            for key, branch in below.items():
                if key in value:
                    branch.find(value[key], found)
        else:
            for key, inner in value.items():
                if key in below:
                    below[key].find(inner, found)


def _branch_of(places: Mapping[Path, _Place[T]]) -> _Branch[T] | None:
    if not places:
        return None
    root: _Branch[T] = _Branch()
    for path, place in places.items():
        _grow(root, path).here = place
    return root


def _grow(root: _Branch[T], path: Path) -> _Branch[T]:
    """The branch at `path` below `root`, made where it is missing and reached by every spelling."""
    branches = [root]
    for depth, name in enumerate(path, start=1):
        branch = branches[-1].below.setdefault(name, _Branch())
        branches.append(branch)
        for start in range(depth - 1):
            branches[start].below[".".join(path[start:depth])] = branch
    return branches[-1]


def _elements(array: list[JSON]) -> Iterator[JSON]:
    """The elements of an array and of the arrays in it."""
    pending = [array]
    while pending:
        for one in pending.pop():
            if type(one) is list:
                pending.append(one)
            else:
                yield one
