"""Whether a value annotated one way can be what is annotated another way. Pure.

Only what is certain is told: where two annotations may fit, are not understood, or fit for some values only, nothing is
said. Results reach the next task as JSON, so that a class and what it is written as (a model and a dict, a datetime and
a text) fit each other; parameters of a run reach tasks as the classes themselves.
"""

from __future__ import annotations

import typing
from collections.abc import Sequence
from typing import Any

import typing_extensions

from tidemill.dag.annotations import (
    MAPPINGS,
    UNKNOWN,
    describe,
    fixed_items,
    item_of,
    kinds_of,
    literals,
    members,
    value_of,
)
from tidemill.dag.fields import Fields, fields_of

__all__ = ["mismatch"]

_MAX_DEPTH = 12
_NUMBERS = frozenset({"bool", "int", "float"})


def mismatch(produced: Any, wanted: Any, *, is_json: bool = True) -> str | None:
    """Why no value of `produced` fits `wanted`, in one clause; None when one may.

    `is_json`: the value goes through JSON on its way.
    """
    return _mismatch(produced, wanted, is_json, 0)


def _mismatch(produced: Any, wanted: Any, is_json: bool, depth: int) -> str | None:
    if depth > _MAX_DEPTH:
        return None
    made, taken = members(produced), members(wanted)
    if not made or not taken:
        return None  # one of them may be anything
    reasons = [_single(one, other, is_json, depth) for one in made for other in taken]
    if any(reason is None for reason in reasons):
        return None
    if len(reasons) == 1:
        return reasons[0]
    return f"it is {describe(produced)}, not {describe(wanted)}"


def _single(produced: Any, wanted: Any, is_json: bool, depth: int) -> str | None:
    plain = f"it is {describe(produced)}, not {describe(wanted)}"
    values, allowed = literals(produced), literals(wanted)
    if allowed is not None:
        if values is not None:
            return None if any(value in allowed for value in values) else plain
        wanted = typing.Union[tuple({type(value) for value in allowed})]  # noqa: UP007 - made at run time
        return plain if _mismatch(produced, wanted, is_json, depth + 1) else None
    if values is not None:
        produced = typing.Union[tuple({type(value) for value in values})]  # noqa: UP007
        return plain if _mismatch(produced, wanted, is_json, depth + 1) else None
    kinds, accepted = kinds_of(produced), kinds_of(wanted)
    if kinds is None or accepted is None:
        return None
    if not is_json and (reason := _by_class(produced, wanted)) is not None:
        return plain if reason else _inside(produced, wanted, is_json, depth)
    if not _overlap(kinds, accepted):
        return plain
    return _inside(produced, wanted, is_json, depth)


def _overlap(kinds: frozenset[str], accepted: frozenset[str]) -> bool:
    if kinds & accepted:
        return True
    # Whole numbers are numbers; nobody is told off for 0 and False.
    if kinds & {"bool", "int"} and accepted & {"bool", "int", "float"}:
        return True
    return bool(kinds & _NUMBERS) and "float" in accepted


def _by_class(produced: Any, wanted: Any) -> bool | None:
    """Whether the classes exclude each other; None where that is not all there is to it."""
    one, other = typing.get_origin(produced) or produced, typing.get_origin(wanted) or wanted
    if not isinstance(one, type) or not isinstance(other, type):
        return None
    if typing_extensions.is_typeddict(one) or typing_extensions.is_typeddict(other):
        return None
    if one in (bool, int, float) and other in (bool, int, float):
        return None
    if kinds_of(produced) == kinds_of(wanted) == frozenset({"list"}):
        return None
    try:
        return not (issubclass(one, other) or issubclass(other, one))
    except TypeError:
        return None


def _inside(produced: Any, wanted: Any, is_json: bool, depth: int) -> str | None:
    """Why what is inside of two containers cannot be the same."""
    made, taken = fields_of(produced), fields_of(wanted)
    if taken is not None and made is not None:
        return _fields(made, taken, is_json, depth)
    if made is not None:
        value = value_of(wanted)
        for name, field in made.items.items():
            if reason := _mismatch(field.annotation, value, is_json, depth + 1):
                return f"its {name!r}: {reason}"
        return None
    if taken is not None:
        return None
    if _is_mapping(produced):
        reason = _mismatch(value_of(produced), value_of(wanted), is_json, depth + 1)
        return f"its values: {reason}" if reason else None
    return _items(produced, wanted, is_json, depth)


def _fields(made: Fields, taken: Fields, is_json: bool, depth: int) -> str | None:
    for name, field in taken.items.items():
        known = made.items.get(name)
        if known is None:
            if field.is_required and not made.is_open and not taken.is_renamed and not made.is_renamed:
                return f"it has no {name!r}, which {taken.name} needs"
        elif reason := _mismatch(known.annotation, field.annotation, is_json, depth + 1):
            return f"its {name!r}: {reason}"
    return None


def _items(produced: Any, wanted: Any, is_json: bool, depth: int) -> str | None:
    made, taken = fixed_items(produced), fixed_items(wanted)
    if made is not None and taken is not None and len(made) != len(taken):
        return f"it has {len(made)} items, not {len(taken)}"
    longest = max(len(made or ()), len(taken or ()), 1)
    for place in range(longest):
        one = _item(produced, made, place)
        other = _item(wanted, taken, place)
        if reason := _mismatch(one, other, is_json, depth + 1):
            what = "its items" if made is None and taken is None else f"its item {place}"
            return f"{what}: {reason}"
    return None


def _item(annotation: Any, fixed: Sequence[Any] | None, place: int) -> Any:
    if fixed is not None:
        return fixed[place] if place < len(fixed) else UNKNOWN
    return item_of(annotation)


def _is_mapping(annotation: Any) -> bool:
    return (typing.get_origin(annotation) or annotation) in MAPPINGS
