"""Looking up an event by its own values: keys → whatever was filed under them. Pure.

At every object the smaller side is walked: the keys that the event has, or those that are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Generic, TypeVar

from tidemill.events.event import JSON, Event
from tidemill.patterns.anchors import Key, Kind
from tidemill.patterns.expression import CONTEXT_ATTRIBUTES, canonical, read_member

__all__ = ["Probe"]

T = TypeVar("T")


@dataclass(slots=True)
class _Field(Generic[T]):
    """What is filed under the values of one path."""

    equal: dict[JSON, T] = field(default_factory=dict)
    #: By length of the prefix.
    prefixes: dict[int, dict[str, T]] = field(default_factory=dict)
    present: T | None = None

    def file(self, key: Key, filed: T) -> None:
        match key.kind:
            case Kind.EQUALS:
                self.equal[key.value] = filed
            case Kind.PREFIX:
                prefix = str(key.value)
                self.prefixes.setdefault(len(prefix), {})[prefix] = filed
            case Kind.PRESENT:
                self.present = filed

    def find(self, value: JSON, found: list[T]) -> None:
        """Add what is filed under the scalar `value`."""
        hit = self.equal.get(value)
        if hit is not None:
            found.append(hit)
        if self.prefixes and isinstance(value, str):
            for length, by_prefix in self.prefixes.items():
                hit = by_prefix.get(value[:length])
                if hit is not None:
                    found.append(hit)
        if self.present is not None:
            found.append(self.present)


@dataclass(slots=True)
class _Branch(Generic[T]):
    """One place in `data`, and the places below it by key; a dotted key leads several steps down."""

    here: _Field[T] = field(default_factory=_Field)
    below: dict[str, _Branch[T]] = field(default_factory=dict)

    def descend(self, path: tuple[str, ...]) -> _Branch[T]:
        """The branch at `path`, made where it is missing."""
        branches = [self]
        for depth, name in enumerate(path, start=1):
            branch = branches[-1].below.setdefault(name, _Branch())
            branches.append(branch)
            for start in range(depth - 1):
                branches[start].below[".".join(path[start:depth])] = branch
        return branches[-1]

    def find(self, value: JSON, found: list[T]) -> None:
        """Add what is filed under `value`, which is at this place, and under the values below it."""
        kind = type(value)
        if kind is dict:
            self._find_below(value, found)
        elif kind is list:
            for one in _elements(value):
                self.find(one, found)
        else:
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


class Probe(Generic[T]):
    """What is filed under keys, found by an event's values; one thing may be found several times."""

    def __init__(self, filed: Mapping[Key, T]) -> None:
        context: dict[str, _Field[T]] = {}
        extensions: dict[str, _Field[T]] = {}
        self._data: _Branch[T] | None = None
        for key, one in filed.items():
            name, *below = key.path
            if name == "data":
                self._data = self._data or _Branch()
                self._data.descend(tuple(below)).here.file(key, one)
            elif not below:  # attributes have nothing below them
                fields = context if name in CONTEXT_ATTRIBUTES else extensions
                fields.setdefault(name, _Field()).file(key, one)
        self._context: list[tuple[Callable[[Event], JSON], _Field[T]]] = [
            (attrgetter(name), one) for name, one in context.items()
        ]
        self._computed = [(name, extensions.pop(name)) for name in _COMPUTED if name in extensions]
        self._extensions = extensions

    def find(self, event: Event) -> list[T]:
        """What is filed under the values of `event`."""
        found: list[T] = []
        for read, one in self._context:
            value = read(event)
            if value is not None:
                one.find(value, found)
        for name, one in self._computed:
            value = read_member(event, name)
            if value is not None:
                one.find(value, found)
        if self._extensions and event.extensions:
            self._find_extensions(event.extensions, found)
        if self._data is not None and event.data is not None:
            self._data.find(event.data, found)
        return found

    def _find_extensions(self, extensions: Mapping[str, JSON], found: list[T]) -> None:
        fewer, more = sorted((self._extensions, extensions), key=len)
        for name in fewer:
            if name in more:
                value, one = extensions[name], self._extensions[name]
                one.find(value, found)
                if not isinstance(value, str):  # filters compare the text form
                    one.find(canonical(value), found)


#: Members of the JSON form that are no fields of `Event`.
_COMPUTED = ("specversion", "data_base64")


def _elements(array: list[JSON]) -> Iterator[JSON]:
    pending = [array]
    while pending:
        for one in pending.pop():
            if type(one) is list:
                pending.append(one)
            else:
                yield one
