"""JSON text at the door: strict RFC 8259, or a refusal; and JSON text on the way out.

`orjson` refuses bad UTF-8, lone surrogates, NaN and infinite numbers by itself, but silently keeps the last of
duplicate keys and turns integers beyond 64 bits into floats. Finding those with a Python parser would cost ten
times the parse, so the text is compared with what `orjson` writes for the value it read:

1. Equal texts, white space aside: nothing was dropped or rounded. JSON tokens are self-delimiting, so the first
   token that differed would make the texts differ; most producers write such text.
2. Otherwise equal counts of ":" prove that no member was dropped (each member has a colon of its own, and none
   can appear on the way unless it was written as an escape), and the absence of 19 digits in a row proves that
   no integer is large.
3. Otherwise the standard library's parser looks at every member and every number. Its result is thrown away.
"""

from __future__ import annotations

import json
import math
from typing import NoReturn

import orjson

from tidemill.errors import EventRejected
from tidemill.events import limits
from tidemill.events.event import JSON

__all__ = ["dump", "normalize", "parse"]

_WHITE_SPACE = b" \t\r\n"
_LONG_NUMBER = b"0" * 19
_DIGITS_TO_ZERO = bytes.maketrans(b"123456789", b"000000000")
_DUMP_PLAIN = (
    orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_SUBCLASS
)

dump = orjson.dumps


def parse(body: bytes, *, envelope: int = 0) -> JSON:
    """The value of a JSON text.

    `envelope` is how many levels of `body` stand around an event's data (1 for an event, 2 for a batch): they do
    not count towards the depth limit, so that an event may be as deep in one content mode as in another.

    Raises `EventRejected`: `invalid_json`, `invalid_unicode`, `duplicate_key`, `json_too_deep`,
    `number_out_of_range`.
    """
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _refusal(bytes(body), error) from None
    if body.count(b"[") + body.count(b"{") > limits.MAX_DEPTH and _is_deeper(
        value, limits.MAX_DEPTH + envelope
    ):
        raise _too_deep()
    written = orjson.dumps(value)
    if written != body:
        _examine(body, written)
    return value


def normalize(value: object) -> JSON:
    """`value`, made by Python code, as the JSON value that a reader of its text would get (tuples become lists).

    Raises `EventRejected` when it has no exact JSON text.
    """
    try:
        read = orjson.loads(orjson.dumps(value, option=_DUMP_PLAIN))
    except TypeError:
        read = None
    if read != value or read is None:
        read = _plain(value, 0)
    elif _is_deeper(read, limits.MAX_DEPTH):
        raise _too_deep()
    return read


def _examine(body: bytes, written: bytes) -> None:
    """Refuse `body` if reading it dropped a member or rounded an integer (rules 1 to 3 above)."""
    if body.translate(None, _WHITE_SPACE) == written.translate(None, _WHITE_SPACE):
        return
    has_all_members = b"\\u003" not in body and body.count(b":") == written.count(b":")
    if not has_all_members or _LONG_NUMBER in body.translate(_DIGITS_TO_ZERO):
        _parse_slowly(body.decode())


def _parse_slowly(text: str) -> JSON:
    return json.loads(
        text,
        object_pairs_hook=_distinct_members,
        parse_int=_exact_integer,
        parse_float=_finite_number,
        parse_constant=_no_constant,
    )


def _distinct_members(pairs: list[tuple[str, JSON]]) -> dict[str, JSON]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise EventRejected(
            "duplicate_key", "an object has two members with the same name; give each its own"
        )
    return members


def _exact_integer(token: str) -> int:
    # the length is looked at first: converting thousands of digits is slow, and refused by Python itself
    if len(token) > 20 or not limits.MIN_INTEGER <= int(token) <= limits.MAX_INTEGER:
        raise _out_of_range("an integer does not fit into 64 bits; send it as a string")
    return int(token)


def _finite_number(token: str) -> float:
    number = float(token)
    if math.isinf(number):
        raise _out_of_range("a number is beyond what a double can hold; send it as a string")
    return number


def _no_constant(token: str) -> NoReturn:
    raise ValueError(f"{token} is not JSON")


def _refusal(body: bytes, error: orjson.JSONDecodeError) -> EventRejected:
    """Why `orjson` refused `body`, told by looking at the body and never by the text of the error."""
    try:
        text = body.decode()
    except UnicodeDecodeError as unicode_error:
        return EventRejected("invalid_unicode", f"the JSON text is not UTF-8 at byte {unicode_error.start}")
    if text.startswith("\ufeff"):
        return EventRejected("invalid_json", "the JSON text begins with a byte order mark; send it without")
    try:
        value = _parse_slowly(text)
    except EventRejected as refusal:
        return refusal
    except RecursionError:
        return _too_deep()
    except ValueError:
        return EventRejected("invalid_json", f"the text is not JSON: {error}")
    if _is_deeper(value, limits.MAX_DEPTH):
        return _too_deep()
    return EventRejected("invalid_unicode", "a string holds half of a surrogate pair; send whole characters")


def _is_deeper(value: JSON, limit: int) -> bool:
    """Whether arrays and objects are nested more than `limit` deep; walks level by level, never recursively."""
    level = [value] if type(value) in (dict, list) else []
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


def _plain(value: object, depth: int) -> JSON:
    """A copy of `value` in JSON's own types, or a refusal that says what in it is not JSON."""
    match value:
        case None | bool():
            return value
        case str():
            return _whole_text(value)
        case int():
            if not limits.MIN_INTEGER <= value <= limits.MAX_INTEGER:
                raise _out_of_range("an integer does not fit into 64 bits; send it as a string")
            return int(value)
        case float():
            if not math.isfinite(value):
                raise _out_of_range("NaN and infinite numbers have no JSON text; send null or a string")
            return float(value)
        case dict() | list() | tuple() if depth >= limits.MAX_DEPTH:
            raise _too_deep()
        case dict():
            return {_member_name(name): _plain(member, depth + 1) for name, member in value.items()}
        case list() | tuple():
            return [_plain(item, depth + 1) for item in value]
        case _:
            raise EventRejected(
                "invalid_cloudevent",
                f"data holds a {type(value).__name__}, which is not a JSON value",
                attribute="data",
            )


def _member_name(name: object) -> str:
    if not isinstance(name, str):
        raise EventRejected(
            "invalid_cloudevent", "data holds an object whose names are not strings", attribute="data"
        )
    return _whole_text(name)


def _whole_text(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        detail = "a string holds half of a surrogate pair; send whole characters"
        raise EventRejected("invalid_unicode", detail) from None
    return str(text)


def _too_deep() -> EventRejected:
    return EventRejected(
        "json_too_deep", f"arrays and objects are nested more than {limits.MAX_DEPTH} deep; send flatter data"
    )


def _out_of_range(detail: str) -> EventRejected:
    return EventRejected("number_out_of_range", detail)
