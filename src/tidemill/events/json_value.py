"""JSON values: what `data` may hold, whichever way it came. Text is read in `json_text`.

Limits of depth and of integers stand in `limits`; a value within them means the same in every language that
reads JSON.
"""

from __future__ import annotations

import math

import orjson

from tidemill.errors import EventRejected
from tidemill.events import limits
from tidemill.events.event import JSON

__all__ = ["broken_text", "is_deeper", "normalize", "out_of_range", "too_deep"]

#: Only JSON's own types are written; dataclasses, dates and the like are for the caller to convert.
_OWN_TYPES = (
    orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_SUBCLASS
)


def normalize(value: object) -> JSON:
    """`value`, made by Python code, as a reader of its JSON text would get it (tuples become lists).

    Raises `EventRejected` when it has no exact JSON text; the caller must convert it first.
    """
    try:
        read = orjson.loads(orjson.dumps(value, option=_OWN_TYPES))
    except TypeError:
        read = None
    if read is None or read != value:
        return _copy(value, 0)
    if is_deeper(read, limits.MAX_DEPTH):
        raise too_deep()
    return read


def is_deeper(value: JSON, limit: int) -> bool:
    """Whether arrays and objects are nested more than `limit` deep; level by level, never recursively."""
    level = [value] if type(value) is dict or type(value) is list else []
    depth = 0
    while level:
        depth += 1
        if depth > limit:
            return True
        level = [
            child
            for container in level
            for child in (container.values() if type(container) is dict else container)
            if type(child) is dict or type(child) is list
        ]
    return False


def too_deep() -> EventRejected:
    """The refusal of what is nested too deep."""
    detail = f"arrays and objects are nested more than {limits.MAX_DEPTH} deep; send flatter data"
    return EventRejected("json_too_deep", detail)


def out_of_range(detail: str) -> EventRejected:
    """The refusal of a number that cannot be kept exactly."""
    return EventRejected("number_out_of_range", detail)


def broken_text() -> EventRejected:
    """The refusal of a string that holds a lone surrogate."""
    return EventRejected("invalid_unicode", "a string holds half of a surrogate pair; send whole characters")


def _copy(value: object, depth: int) -> JSON:
    """A copy of `value` in JSON's own types, or a refusal that says what in it is not JSON."""
    match value:
        case None | bool():
            return value
        case str():
            return _whole(value)
        case int():
            if not limits.MIN_INTEGER <= value <= limits.MAX_INTEGER:
                raise out_of_range("an integer does not fit into 64 bits; send it as a string")
            return int(value)
        case float():
            if not math.isfinite(value):
                raise out_of_range("NaN and infinite numbers have no JSON text; send null or a string")
            return float(value)
        case dict() | list() | tuple() if depth >= limits.MAX_DEPTH:
            raise too_deep()
        case dict():
            return {_member_name(name): _copy(member, depth + 1) for name, member in value.items()}
        case list() | tuple():
            return [_copy(item, depth + 1) for item in value]
        case _:
            raise _not_json(f"data holds a {type(value).__name__}, which is not a JSON value")


def _member_name(name: object) -> str:
    if not isinstance(name, str):
        raise _not_json("data holds an object with a name that is not a string")
    return _whole(name)


def _whole(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise broken_text() from None
    return str.__str__(text)


def _not_json(detail: str) -> EventRejected:
    return EventRejected("invalid_cloudevent", detail, attribute="data")
