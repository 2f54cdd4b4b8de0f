"""Looking up an event by its own values: keys → whatever was filed under them. Pure.

At every object the smaller side is walked: the names that the event has, or those that are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from operator import attrgetter
from typing import Final, Generic, TypeVar

from tidemill.events.event import JSON, Event
from tidemill.patterns.anchors import Key, Kind, Sought
from tidemill.patterns.members import COMPUTED, CONTEXT_ATTRIBUTES, canonical, read_member
from tidemill.patterns.places import Find, compile_place

__all__ = ["Probe"]

T = TypeVar("T")

_MISSING: Final = object()


class Probe(Generic[T]):
    """What is filed under keys, found by an event's values; one thing may be found several times."""

    __slots__ = ("_computed", "_context", "_data", "_extensions")

    def __init__(self, filed: Mapping[Key, T]) -> None:
        by_path: dict[str, dict[Kind, dict[Sought, T]]] = {}
        for key, one in filed.items():
            by_path.setdefault(key.path, {}).setdefault(key.kind, {})[key.sought] = one
        places = {path: compile_place(kinds) for path, kinds in by_path.items()}
        self._data: _Way[T] | None = None
        self._context: list[tuple[Callable[[Event], JSON], Find[T]]] = []
        self._computed: list[tuple[str, Find[T]]] = []
        self._extensions: dict[str, Find[T]] = {}
        for path in sorted(places):
            first, *below = path.split(".")
            if first == "data":
                self._data = self._data or _Way()
                _grow(self._data, below).here = places[path]
            elif below:
                continue  # an attribute has nothing below it
            elif first in CONTEXT_ATTRIBUTES:
                self._context.append((attrgetter(first), places[path]))
            elif first in COMPUTED:
                self._computed.append((first, places[path]))
            else:
                self._extensions[first] = places[path]

    def find(self, event: Event, found: list[T]) -> bool:
        """Add what is filed under the values of `event`; True when it has arrays of objects, or dotted names, where
        something is filed, so that a condition is not proven by what was found."""
        for read, find in self._context:
            value = read(event)
            if value is not None:
                find(value, found)
        for name, find in self._computed:
            value = read_member(event, name)
            if value is not None:
                find(value, found)
        if self._extensions and event.extensions:
            self._find_extensions(event.extensions, found)
        data = event.data
        if self._data is not None and data is not None and type(data) is not bytes:
            return self._data.find(data, found)
        return False

    def _find_extensions(self, extensions: Mapping[str, JSON], found: list[T]) -> None:
        fewer, more = sorted((self._extensions, extensions), key=len)
        for name in fewer:
            if name in more:
                value, find = extensions[name], self._extensions[name]
                find(value, found)
                if not isinstance(value, str):  # filters compare the text form
                    find(canonical(value), found)


class _Way(Generic[T]):
    """One place in `data`, and the ways below it by name; a dotted name leads several steps down."""

    __slots__ = ("below", "here", "spelled")

    def __init__(self) -> None:
        self.here: Find[T] | None = None
        self.below: dict[str, _Way[T]] = {}
        self.spelled: dict[str, _Way[T]] = {}

    def find(self, value: JSON, found: list[T]) -> bool:
        """Add what is filed under `value`, which is at this place, and under the values below it."""
        kind = type(value)
        if kind is dict:
            return self._find_below(value, found) if self.below else False
        if kind is list:
            return self._find_elements(value, found)
        if self.here is not None:
            self.here(value, found)
        return False

    def _find_below(self, value: dict[str, JSON], found: list[T]) -> bool:
        below, apart = self.below, False
        if len(below) <= len(value):
            for name, way in below.items():
                inner = value.get(name, _MISSING)
                if inner is not _MISSING:
                    if way.here is not None and type(inner) is str:
                        way.here(inner, found)
                    elif way.find(inner, found):
                        apart = True
        else:
            for name, inner in value.items():
                if name in below and below[name].find(inner, found):
                    apart = True
        if self.spelled and not self.spelled.keys().isdisjoint(value):
            for name in self.spelled.keys() & value.keys():
                self.spelled[name].find(value[name], found)
            return True
        return apart

    def _find_elements(self, array: list[JSON], found: list[T]) -> bool:
        apart = False
        for one in _elements(array):
            if type(one) is dict:
                apart = True
            self.find(one, found)
        return apart or any(type(one) is list for one in array)


def _grow(root: _Way[T], names: list[str]) -> _Way[T]:
    """The way at `names` below `root`, made where it is missing and reached by every spelling."""
    ways = [root]
    for depth, name in enumerate(names, start=1):
        way = ways[-1].below.setdefault(name, _Way())
        ways.append(way)
        for start in range(depth - 1):
            ways[start].spelled[".".join(names[start:depth])] = way
    return ways[-1]


def _elements(array: list[JSON]) -> Iterator[JSON]:
    """The elements of an array and of the arrays in it."""
    pending = [array]
    while pending:
        for one in pending.pop():
            if type(one) is list:
                pending.append(one)
            else:
                yield one
