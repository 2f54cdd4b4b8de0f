"""Choosing fields out of arrays so that they lie together: what event-ruler calls array consistency. Pure.

1. The event is taken apart into fields: a path, a value, and for each array around it the element it lies in.
2. Conditions are taken in the order of their paths. Each chooses one field that passes and lies, in every array
   that a field chosen before it lies in, in the same element.
3. `exists: false` holds where no field of its path lies together with the fields chosen before it.
4. Choices that lead to the same question are followed once, and at most `MAX_CHOICES` fields are looked at, and ten
   times what the event has; past that the rule does not hold. Only events that spell one path in many ways with dots
   come near it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from tidemill.events.event import JSON
from tidemill.patterns.condition import Test

__all__ = ["MAX_CHOICES", "Sought", "holds", "values_at"]

#: Most fields that are looked at for one branch of a rule and one event.
MAX_CHOICES = 100_000

#: For each array (by number) that a field lies in, the element.
Places = dict[int, int]
_NOWHERE: Places = {}


class Sought(NamedTuple):
    """What one condition of a branch asks."""

    path: str
    test: Test
    accepts_absence: bool


class _Field(NamedTuple):
    value: JSON
    places: Places


def values_at(path: str, root: Mapping[str, JSON]) -> list[JSON]:
    """Every value of the field `path`, through arrays and dotted names."""
    (found,) = _take_apart([path], root)
    return [field.value for field in found]


def holds(branch: Sequence[Sought], root: Mapping[str, JSON]) -> bool:
    """Whether fields of `root` can be chosen for all of `branch`, which is in the order of paths."""
    fields = _take_apart([one.path for one in branch], root)
    if any(not found and not one.accepts_absence for one, found in zip(branch, fields, strict=True)):
        return False
    return _Search(branch, fields).succeeds()


class _Search:
    def __init__(self, branch: Sequence[Sought], fields: Sequence[Sequence[_Field]]) -> None:
        self._absent = [one.accepts_absence for one in branch]
        self._passes = [
            [one.test(field.value) for field in found] for one, found in zip(branch, fields, strict=True)
        ]
        self._fields = fields
        #: The last condition that a field in the array can be chosen for.
        self._last_use = {
            array: at for at, found in enumerate(fields) for field in found for array in field.places
        }
        self._by_array: dict[tuple[int, int], tuple[dict[int, list[int]], list[int]] | None] = {}
        self._left = MAX_CHOICES + 10 * sum(map(len, fields))

    def succeeds(self) -> bool:
        pending: list[tuple[int, Places]] = [(0, _NOWHERE)]
        asked: set[tuple[int, tuple[tuple[int, int], ...]]] = set()
        while pending:
            at, places = pending.pop()
            if at == len(self._fields):
                return True
            question = (at, tuple(sorted(places.items())))
            if question not in asked and self._left > 0:
                asked.add(question)
                pending.extend((at + 1, following) for following in self._choices(at, places))
        return False

    def _choices(self, at: int, places: Places) -> Iterator[Places]:
        """Where one can be after the condition `at` was met, having been at `places`."""
        fields, passes, anything = self._fields[at], self._passes[at], False
        for number in self._near(at, places):
            self._left -= 1
            own = fields[number].places
            if all(places.get(array, element) == element for array, element in own.items()):
                anything = True
                if passes[number]:
                    yield self._kept({**places, **own}, at)
        if not anything and self._absent[at]:
            yield self._kept(places, at)

    def _kept(self, places: Places, at: int) -> Places:
        """Without the arrays that no later condition can choose from."""
        last_use = self._last_use
        return {array: element for array, element in places.items() if last_use[array] > at}

    def _near(self, at: int, places: Places) -> Sequence[int]:
        """The fields for `at` that may lie together with `places`."""
        for array, element in reversed(places.items()):
            divided = self._divided(at, array)
            if divided is not None:
                inside, outside = divided
                return inside.get(element, []) + outside
        return range(len(self._fields[at]))

    def _divided(self, at: int, array: int) -> tuple[dict[int, list[int]], list[int]] | None:
        """The fields for `at` by element of `array`, and those outside of it; None when all are outside."""
        if (at, array) not in self._by_array:
            inside: dict[int, list[int]] = {}
            outside: list[int] = []
            for number, field in enumerate(self._fields[at]):
                if array in field.places:
                    inside.setdefault(field.places[array], []).append(number)
                else:
                    outside.append(number)
            self._by_array[at, array] = (inside, outside) if inside else None
        return self._by_array[at, array]


class _Step:
    """One place on the way to the fields that are sought; a dotted name leads several steps down."""

    __slots__ = ("below", "here")

    def __init__(self) -> None:
        self.here: list[_Field] | None = None
        self.below: dict[str, _Step] = {}


def _take_apart(paths: Sequence[str], root: Mapping[str, JSON]) -> list[list[_Field]]:
    """The fields of `root` at each of `paths`."""
    top = _Step()
    found = [_sought_at(top, path.split(".")) for path in paths]
    pending: list[tuple[JSON, _Step, Places]] = [(root, top, _NOWHERE)]
    arrays = 0
    while pending:
        value, step, places = pending.pop()
        kind = type(value)
        if kind is dict:
            pending.extend((value[name], below, places) for name, below in _common(step.below, value))
        elif kind is list:
            nested = [type(one) is dict or type(one) is list for one in value]
            # the only element of an array keeps nothing apart
            divides = len(value) > 1 and any(nested)
            for element in reversed(range(len(value))):
                inside = {**places, arrays: element} if divides and nested[element] else places
                pending.append((value[element], step, inside))
            arrays += divides
        elif step.here is not None:
            step.here.append(_Field(value, places))
    return found


def _common(below: Mapping[str, _Step], value: Mapping[str, JSON]) -> Iterator[tuple[str, _Step]]:
    if len(below) <= len(value):
        return ((name, step) for name, step in below.items() if name in value)
    return ((name, below[name]) for name in value if name in below)


def _sought_at(top: _Step, names: Sequence[str]) -> list[_Field]:
    """Where the fields at `names` will be gathered; the way to them is made, in every spelling."""
    way = [top]
    for depth, name in enumerate(names, start=1):
        step = way[-1].below.setdefault(name, _Step())
        way.append(step)
        for start in range(depth - 1):
            way[start].below[".".join(names[start:depth])] = step
    here = way[-1].here
    if here is None:
        here = way[-1].here = []
    return here
