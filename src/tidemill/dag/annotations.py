"""What an annotation says of the values that it stands for, as far as that is certain. Pure."""

from __future__ import annotations

import collections.abc as abc
import enum
import inspect
import types
import typing
from collections.abc import Iterator, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import PurePath
from typing import Any
from uuid import UUID

import typing_extensions

from tidemill.dag.fields import fields_of

__all__ = [
    "MAPPINGS",
    "NONE",
    "UNKNOWN",
    "annotations_of",
    "describe",
    "fixed_items",
    "is_none",
    "item_of",
    "kinds_of",
    "literals",
    "members",
    "never_json",
    "of_constant",
    "strip",
    "value_of",
]

#: Nothing is known of the value.
UNKNOWN = Any
NONE = type(None)
#: Classes that are written as JSON objects, whatever their values.
MAPPINGS = (dict, abc.Mapping, abc.MutableMapping)

_MAX_DEPTH = 12
#: What each class is written as in JSON, and what it may be made of.
_KINDS: dict[type, frozenset[str]] = {
    NONE: frozenset({"null"}),
    bool: frozenset({"bool"}),
    int: frozenset({"int"}),
    float: frozenset({"float"}),
    str: frozenset({"str"}),
    **dict.fromkeys((datetime, date, time, UUID), frozenset({"str"})),
    **dict.fromkeys((timedelta, Decimal), frozenset({"str", "int", "float"})),
}
_LISTS = (list, tuple, set, frozenset, abc.Sequence, abc.Set, abc.Iterable, abc.Collection)
#: Classes that no result can hold.
_NOT_JSON = (bytes, bytearray, memoryview, complex, timedelta, Decimal, PurePath)
_CALLABLE: Any = abc.Callable
_NOT_JSON_GENERIC = (abc.Generator, abc.AsyncGenerator, abc.Iterator, abc.AsyncIterator, _CALLABLE, type)
_WRAPPERS = (
    typing.Final,
    typing.ClassVar,
    typing.Required,
    typing.NotRequired,
    typing_extensions.Required,
    typing_extensions.NotRequired,
    typing_extensions.ReadOnly,
)


def members(annotation: Any) -> list[Any]:
    """The alternatives of an annotation; none where it may be anything."""
    bare = strip(annotation)
    if typing.get_origin(bare) in (typing.Union, types.UnionType):
        found: list[Any] = []
        for one in typing.get_args(bare):
            inner = members(one)
            if not inner:
                return []
            found += inner
        return found
    if bare is Any or bare is object or isinstance(bare, str | typing.ForwardRef | typing.TypeVar):
        return []
    return [bare]


def strip(annotation: Any) -> Any:
    """The annotation without what does not change its values."""
    for _ in range(_MAX_DEPTH):
        origin = typing.get_origin(annotation)
        if origin is typing.Annotated or origin in _WRAPPERS:
            annotation = typing.get_args(annotation)[0]
        elif isinstance(annotation, typing.NewType):
            annotation = annotation.__supertype__
        elif type(annotation).__name__ == "TypeAliasType" and hasattr(annotation, "__value__"):
            annotation = annotation.__value__
        else:
            break
    return NONE if annotation is None else annotation


def literals(annotation: Any) -> tuple[Any, ...] | None:
    """The values of a `Literal`."""
    return typing.get_args(annotation) if typing.get_origin(annotation) is typing.Literal else None


def kinds_of(annotation: Any) -> frozenset[str] | None:
    """Kinds of JSON values that stand for it; None when it may be any."""
    known = typing.get_origin(annotation) or annotation
    if not isinstance(known, type):
        return None
    if known in _KINDS:
        return _KINDS[known]
    if fields_of(annotation) is not None or known in MAPPINGS:
        return frozenset({"object"})
    if known in _LISTS:
        # A text is a sequence of texts: only what says `list` or `tuple` excludes it.
        is_loose = known in (abc.Sequence, abc.Iterable, abc.Collection)
        return frozenset({"list", "str", "object"}) if is_loose else frozenset({"list"})
    if issubclass(known, enum.Enum):
        kinds = {kind for member in known for kind in _KINDS.get(type(member.value), {"any"})}
        return None if "any" in kinds else frozenset(kinds) or None
    if issubclass(known, PurePath):
        return frozenset({"str"})
    return None


def fixed_items(annotation: Any) -> Sequence[Any] | None:
    """The items of a tuple of fixed length."""
    arguments = typing.get_args(annotation)
    if typing.get_origin(annotation) is not tuple or not arguments or arguments[-1] is Ellipsis:
        return None
    return () if arguments == ((),) else arguments


def item_of(annotation: Any) -> Any:
    """What the items of a list are."""
    arguments = typing.get_args(annotation)
    return arguments[0] if arguments else UNKNOWN


def value_of(annotation: Any) -> Any:
    """What the values of a mapping are."""
    arguments = typing.get_args(annotation)
    return arguments[1] if len(arguments) == 2 else UNKNOWN


def is_none(annotation: Any) -> bool:
    """Whether nothing but None is annotated."""
    return strip(annotation) is NONE


def never_json(annotation: Any) -> bool:
    """Whether no value of it can be written as JSON, as far as that is certain."""
    found = members(annotation)
    return bool(found) and all(map(_is_not_json, found))


def _is_not_json(annotation: Any) -> bool:
    known = typing.get_origin(annotation) or annotation
    if known in _NOT_JSON_GENERIC:
        return True
    return isinstance(known, type) and issubclass(known, _NOT_JSON) and not issubclass(known, enum.Enum)


def of_constant(value: Any) -> Any:
    """What is certain of the type of a constant argument."""
    match value:
        case None:
            return NONE
        case bool() | int() | float() | str():
            return type(value)
        case list():
            return list
        case dict():
            return dict
        case _:
            return UNKNOWN


def describe(annotation: Any) -> str:
    """The annotation as people write it."""
    bare = strip(annotation)
    if bare is NONE:
        return "None"
    if isinstance(bare, type) and not typing.get_args(bare):
        return bare.__qualname__.rpartition("<locals>.")[2]
    if typing.get_origin(bare) in (typing.Union, types.UnionType):
        return " | ".join(map(describe, typing.get_args(bare)))
    origin, arguments = typing.get_origin(bare), typing.get_args(bare)
    if isinstance(origin, type) and arguments and origin is not _CALLABLE:
        inner = ", ".join("..." if one is Ellipsis else describe(one) for one in arguments)
        return f"{describe(origin)}[{inner}]"
    return str(bare).replace("typing.", "")


def annotations_of(function: Any) -> dict[str, Any]:
    """The annotations of a function, evaluated; those that cannot be are left out."""
    target = inspect.unwrap(function)
    if not inspect.isfunction(target):
        target = getattr(type(target), "__call__", target)  # noqa: B004 - an object that is called
    try:
        return typing_extensions.get_type_hints(target, include_extras=True)
    except Exception:
        return dict(_single_annotations(target))


def _single_annotations(function: Any) -> Iterator[tuple[str, Any]]:
    names = getattr(function, "__globals__", {})
    for name, annotation in getattr(function, "__annotations__", {}).items():
        if not isinstance(annotation, str):
            yield name, annotation
            continue
        try:
            # The user's own annotation, evaluated where the interpreter itself would evaluate it.
            yield name, eval(annotation, dict(names))  # noqa: S307
        except Exception:  # noqa: S112 - imported for type checkers only: nothing is known of it
            continue
