"""How the result of a task becomes JSON and a value again: by name, chosen with `@task(result=...)`.

1. What is stored is JSON always, so that histories, completion events and other languages can read it. Nothing stored
   or received is ever unpickled: whoever can write to the database or a broker gets no code run by that.
2. Decoding makes values of the types that the serializer knows, and of nothing else.
"""

from __future__ import annotations

import base64
import typing
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

if TYPE_CHECKING:
    from importlib.metadata import EntryPoints

    from pydantic import TypeAdapter

__all__ = [
    "JSON_RESULT",
    "Serializer",
    "decoder_of",
    "find_serializer",
    "serializer_names",
    "serializer_problem",
]

#: The name of what tasks that say nothing use: JSON as it is, which needs no decoding.
JSON_RESULT = "json"
#: Installed packages name serializers of their own in this group of entry points.
_GROUP = "tidemill.serializers"
_TAG = "$type"


class Serializer(Protocol):
    """Makes JSON values of results and results of JSON values; `function` is the task's, for its annotations.

    Both raise what they like for what they cannot do: the attempt that returned the value, or needs it, has failed.
    """

    def encode(self, value: Any, function: Callable[..., Any]) -> Any:
        """A JSON value."""

    def decode(self, value: Any, function: Callable[..., Any]) -> Any:
        """What `encode` was given."""


class Tagged:
    """JSON with tags for what JSON has no word for: `{"$type": "decimal", "value": "1.50"}`.

    Knows bytes, datetime, date, time, timedelta, Decimal, UUID, set, frozenset, tuple, whole numbers of any size,
    floats that are no number, and dicts whose keys are no texts.
    """

    def encode(self, value: Any, function: Callable[..., Any]) -> Any:
        match value:
            case None | bool() | str():
                return value
            case int():
                return value if -(1 << 63) <= value < 1 << 63 else _tag("int", str(value))
            case float():
                return value if value - value == 0 else _tag("float", repr(value))
            case list():
                return [self.encode(one, function) for one in value]
            case dict():
                if _TAG in value or not all(type(name) is str for name in value):
                    pairs = [[self.encode(k, function), self.encode(v, function)] for k, v in value.items()]
                    return _tag("dict", pairs)
                return {name: self.encode(one, function) for name, one in value.items()}
            case set() | frozenset():
                kind = "set" if isinstance(value, set) else "frozenset"
                return _tag(kind, [self.encode(one, function) for one in sorted(value, key=repr)])
            case tuple():
                return _tag("tuple", [self.encode(one, function) for one in value])
        return _encode_one(value)

    def decode(self, value: Any, function: Callable[..., Any]) -> Any:
        if isinstance(value, list):
            return [self.decode(one, function) for one in value]
        if not isinstance(value, dict):
            return value
        if _TAG not in value:
            return {name: self.decode(one, function) for name, one in value.items()}
        kind, inner = value[_TAG], value["value"]
        if kind == "dict":
            return {self.decode(k, function): self.decode(v, function) for k, v in inner}
        if kind in _COLLECTIONS:
            return _COLLECTIONS[kind]([self.decode(one, function) for one in inner])
        if kind not in _SCALARS:
            raise ValueError(f"a result is tagged {kind!r}, which is no type that results can have")
        return _SCALARS[kind](inner)


class Typed:
    """What the function's return annotation says, by pydantic: models, dataclasses, datetimes, sets, unions, ..."""

    def encode(self, value: Any, function: Callable[..., Any]) -> Any:
        return _adapter(function).dump_python(value, mode="json")

    def decode(self, value: Any, function: Callable[..., Any]) -> Any:
        return _adapter(function).validate_python(value, strict=False)


_BUILT_IN: Mapping[str, Serializer] = {"tagged": Tagged(), "typed": Typed()}
_COLLECTIONS: Mapping[str, Callable[[Any], Any]] = {"set": set, "frozenset": frozenset, "tuple": tuple}
_SCALARS: Mapping[str, Callable[[Any], Any]] = {
    "bytes": partial(base64.b64decode, validate=True),
    "datetime": datetime.fromisoformat,
    "date": date.fromisoformat,
    "time": time.fromisoformat,
    "timedelta": lambda text: timedelta(microseconds=int(text)),
    "decimal": Decimal,
    "uuid": UUID,
    "int": int,
    "float": float,
}


def serializer_names() -> list[str]:
    """The names that `result=` takes."""
    return [JSON_RESULT, *_BUILT_IN, *sorted(entry.name for entry in _installed())]


@lru_cache(maxsize=64)
def find_serializer(name: str) -> Serializer:
    """The serializer of that name; raises `LookupError` when there is none, and what importing it raises."""
    if name in _BUILT_IN:
        return _BUILT_IN[name]
    for entry in _installed():
        if entry.name == name:
            made: Serializer = entry.load()()
            return made
    raise LookupError(name)


def serializer_problem(name: object, function: Callable[..., Any]) -> str | None:
    """Why results of this function cannot have this serializer; None when they can."""
    if not isinstance(name, str):
        return f"result must be the name of a serializer, not {type(name).__name__}"
    if name == JSON_RESULT:
        return None
    try:
        find_serializer(name)
    except LookupError:
        return f"result must be one of {', '.join(serializer_names())}, not {name[:60]!r}"
    except Exception as error:  # a package's own
        return f"the serializer {name!r} cannot be loaded: {type(error).__name__}: {error}"
    if name != "typed":
        return None
    try:
        _adapter(function)
    except Exception as error:  # whatever the user's own types raise while they are looked at
        return f'result="typed" needs a return annotation that pydantic knows: {error}'
    return None


def decoder_of(name: str, function: Callable[..., Any], *, each: bool = False) -> Callable[[Any], Any]:
    """What makes a value of a stored result; of `each` item of it where the task is mapped."""
    serializer = find_serializer(name)
    if each:
        return lambda values: [None if one is None else serializer.decode(one, function) for one in values]
    return lambda value: None if value is None else serializer.decode(value, function)


@lru_cache(maxsize=1024)
def _adapter(function: Callable[..., Any]) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    hints = typing.get_type_hints(function, include_extras=True)
    if "return" not in hints:
        raise TypeError(f"{getattr(function, '__name__', 'the function')} has no return annotation")
    return TypeAdapter(hints["return"])


def _installed() -> EntryPoints:
    from importlib.metadata import entry_points  # here, since it costs as much as all the rest

    return entry_points(group=_GROUP)


def _tag(kind: str, value: Any) -> dict[str, Any]:
    return {_TAG: kind, "value": value}


def _encode_one(value: Any) -> Any:
    match value:
        case bytes() | bytearray():
            return _tag("bytes", base64.b64encode(value).decode())
        case datetime():
            return _tag("datetime", value.isoformat())
        case date():
            return _tag("date", value.isoformat())
        case time():
            return _tag("time", value.isoformat())
        case timedelta():
            return _tag("timedelta", str(value // timedelta(microseconds=1)))
        case Decimal():
            return _tag("decimal", str(value))
        case UUID():
            return _tag("uuid", str(value))
    raise TypeError(f"a {type(value).__name__} has no tag")
