"""One field of an event or JSON object, looked up and tested by a closure: the hot path of matching. Pure.

An answer is True, False, or None: "the field lies in an array of objects, or is spelled with dots: ask
`arrays`". False is final, wherever the other fields of the rule lie.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Final

from tidemill.events.event import JSON, Event
from tidemill.patterns.condition import Test
from tidemill.patterns.members import CONTEXT_ATTRIBUTES, read_member

__all__ = ["Answer", "compile_answer", "compile_event_answer"]

#: Whether a value holds one field's condition.
Answer = Callable[[JSON], bool | None]

_MISSING: Final = object()


def compile_event_answer(path: str, test: Test, absent: bool) -> Callable[[Event], bool | None]:
    """The answer for the field `path` of an event; `absent` is what holds where there is no value."""
    name, *below = path.split(".")
    if name == "data":
        return _data_answer(below, test, absent)
    if below:
        return lambda event: absent  # attributes are scalars: nothing lies below them
    if name in CONTEXT_ATTRIBUTES:
        read = attrgetter(name)
        return lambda event: absent if (value := read(event)) is None else test(value)
    return lambda event: absent if (value := read_member(event, name)) is None else test(value)


def _data_answer(below: Sequence[str], test: Test, absent: bool) -> Callable[[Event], bool | None]:
    if len(below) == 1:
        (name,) = below

        def answer_member(event: Event) -> bool | None:
            data = event.data
            if type(data) is not dict:
                return _beside(data, absent)
            value = data.get(name, _MISSING)
            if value is _MISSING:
                return absent
            return test(value) if type(value) is str else _answer_leaf(value, test, absent)

        return answer_member
    answer = compile_answer(below, test, absent)
    return lambda event: absent if (data := event.data) is None or type(data) is bytes else answer(data)


def compile_answer(names: Sequence[str], test: Test, absent: bool) -> Answer:
    """The answer for the field at `names` below a value."""
    if not names:
        return lambda value: _answer_leaf(value, test, absent)
    *steps, (last, _) = _steps(tuple(names))

    def answer(value: JSON) -> bool | None:
        for name, spellings in steps:
            if type(value) is not dict:
                return _beside(value, absent)
            for spelling in spellings:
                if spelling in value:
                    return None
            value = value.get(name, _MISSING)
            if value is _MISSING:
                return absent
        if type(value) is not dict:
            return _beside(value, absent)
        value = value.get(last, _MISSING)
        return absent if value is _MISSING else _answer_leaf(value, test, absent)

    return answer


@lru_cache(maxsize=4096)
def _steps(names: tuple[str, ...]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Each name with the dotted names that would lead past it."""
    return tuple(
        (name, tuple(".".join(names[start : end + 1]) for end in range(start + 1, len(names))))
        for start, name in enumerate(names)
    )


def _answer_leaf(value: JSON, test: Test, absent: bool) -> bool | None:
    kind = type(value)
    if kind is list:
        return _elements(value, test, absent)
    return absent if kind is dict else test(value)


def _elements(array: list[JSON], test: Test, absent: bool) -> bool | None:
    """An array of scalars holds when one of them does; an empty one is no value."""
    found = False
    for one in array:
        kind = type(one)
        if kind is dict or kind is list:
            return None
        found = found or test(one)
    return found if array else absent


def _beside(value: JSON, absent: bool) -> bool | None:
    """The answer where an object was expected: an array may hold objects, a scalar has nothing below it."""
    if type(value) is list and any(type(one) is dict or type(one) is list for one in value):
        return None
    return absent
