"""JSON text at the door: strict RFC 8259, or a refusal; and JSON text on the way out.

`orjson` refuses bad UTF-8, lone surrogates, NaN and infinite numbers by itself, but silently keeps the last
of duplicate members and turns integers beyond 64 bits into floats. To find those without a second parser, the
text is compared with what `orjson` writes for the value it read:

1. Equal texts, white space aside: nothing was dropped or rounded. Tokens are self-delimiting, so the first
   token that differed would make the texts differ. Most producers write such text.
2. Otherwise, equal counts of ":" prove that no member was dropped: each has a colon of its own, and none can
   appear on the way unless it was written as an escape. No 19 digits in a row: no integer is large.
3. Otherwise the standard library's parser looks at every member and number. Its result is thrown away.
"""

from __future__ import annotations

import json
import math
from typing import NoReturn

import orjson

from tidemill.errors import EventRejected
from tidemill.events import json_value, limits
from tidemill.events.event import JSON

__all__ = ["dump", "parse"]

_WHITE_SPACE = b" \t\r\n"
_DIGITS_TO_ZERO = bytes.maketrans(b"123456789", b"000000000")
_MANY_DIGITS = b"0" * 19


def dump(value: JSON) -> bytes:
    """The JSON text of `value`, compact, in UTF-8."""
    return orjson.dumps(value)


def parse(body: bytes, *, envelope: int = 0) -> JSON:
    """The value of a JSON text.

    `envelope` is how many levels of `body` stand around an event's data (1 for an event, 2 for a batch). They
    do not count towards the depth limit, so that data may be as deep in one content mode as in another.

    Raises `EventRejected`: `invalid_json`, `invalid_unicode`, `duplicate_key`, `json_too_deep`,
    `number_out_of_range`.
    """
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _refusal(body, error, limits.MAX_DEPTH + envelope) from None
    if body.count(b"[") + body.count(b"{") > limits.MAX_DEPTH and json_value.is_deeper(
        value, limits.MAX_DEPTH + envelope
    ):
        raise json_value.too_deep()
    written = orjson.dumps(value)
    if written != body:
        _examine(body, written)
    return value


def _examine(body: bytes, written: bytes) -> None:
    """Refuse `body` if reading it dropped a member or rounded an integer (rules 1 to 3)."""
    if body.translate(None, _WHITE_SPACE) == written.translate(None, _WHITE_SPACE):
        return
    has_all_members = b"\\u003" not in body and body.count(b":") == written.count(b":")
    if not has_all_members or _MANY_DIGITS in body.translate(_DIGITS_TO_ZERO):
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
        raise EventRejected("duplicate_key", "an object has two members with one name; give each its own")
    return members


def _exact_integer(token: str) -> int:
    # length first: converting thousands of digits is slow, and Python itself refuses it above 4,300
    if len(token) > 20 or not limits.MIN_INTEGER <= int(token) <= limits.MAX_INTEGER:
        raise json_value.out_of_range("an integer does not fit into 64 bits; send it as a string")
    return int(token)


def _finite_number(token: str) -> float:
    number = float(token)
    if math.isinf(number):
        raise json_value.out_of_range("a number is larger than a double can be; send it as a string")
    return number


def _no_constant(token: str) -> NoReturn:
    raise ValueError(f"{token} is not JSON")


def _refusal(body: bytes, error: orjson.JSONDecodeError, max_depth: int) -> EventRejected:
    """Why `orjson` refused `body`, told by looking at the body and never by the text of the error."""
    try:
        text = body.decode()
    except UnicodeDecodeError as unicode_error:
        return EventRejected("invalid_unicode", f"the text is not UTF-8 at byte {unicode_error.start}")
    if text.startswith("\ufeff"):
        return EventRejected("invalid_json", "the text begins with a byte order mark; send it without")
    try:
        value = _parse_slowly(text)
    except EventRejected as refusal:
        return refusal
    except RecursionError:
        return json_value.too_deep()
    except ValueError:
        return EventRejected("invalid_json", f"the text is not JSON: {error}")
    if json_value.is_deeper(value, max_depth):
        return json_value.too_deep()
    return json_value.broken_text()
