"""The operators of content patterns: one written alternative → one `Alternative`. Pure.

Each operator stands in `OPERATORS`; what is not there is refused. A parser raises `Refusal` with one
sentence; where it stands is added by the caller.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Sequence

from tidemill.events import limits
from tidemill.events.event import JSON
from tidemill.patterns.addresses import WIDTHS, Block, parse_address, parse_block
from tidemill.patterns.condition import (
    ABSENT,
    PRESENT,
    Alternative,
    Between,
    Equals,
    Like,
    Other,
    Prefix,
    Scalar,
    Suffix,
    Wildcard,
    Within,
    quote,
)
from tidemill.patterns.numbers import number_of

__all__ = ["MAX_STARS", "OPERATORS", "Refusal", "parse_alternative"]

#: Most `*` in one wildcard: it bounds the cost of a text that almost matches.
MAX_STARS = 5

_COMPARISONS = ("=", "<", "<=", ">", ">=")
_LOWER = ("=", ">", ">=")
_UPPER = ("=", "<", "<=")


class Refusal(Exception):  # noqa: N818 - carries one problem to the compiler, never leaves the package
    """An operator as written is refused; the text says why."""


def parse_alternative(written: JSON) -> Alternative:
    """The alternative that `written` states: a scalar, or an object of one operator."""
    if isinstance(written, dict):
        return _parse_operator(written)
    if isinstance(written, list):
        raise Refusal("an alternative must be a string, number, boolean, null or an operator, not an array")
    value = _scalar(written)
    address = parse_address(value) if type(value) is str else None
    if address is not None:
        # however an event writes it: ::1 and 0:0:0:0:0:0:0:1 are one address
        version, number = address
        return Within(Block(version, number, WIDTHS[version]), quote(value))
    return Equals(value)


def _parse_operator(written: dict[JSON, JSON]) -> Alternative:
    if len(written) != 1:
        raise Refusal(f"an operator object must have exactly one key, this one has {len(written)}")
    ((name, argument),) = written.items()
    if not isinstance(name, str) or name not in OPERATORS:
        raise Refusal(f"operator {quote(name)} is not supported; there are {', '.join(sorted(OPERATORS))}")
    return OPERATORS[name](argument)


# ── one parser per operator ───────────────────────────────────────────────────────────────────────────────


def _exactly(argument: JSON) -> Alternative:
    return Equals(_text("exactly", argument))


def _prefix(argument: JSON) -> Alternative:
    if isinstance(argument, dict):
        return Like(_text("prefix", _only(argument, "prefix", "equals-ignore-case")), "prefix")
    return Prefix(_text("prefix", argument))


def _suffix(argument: JSON) -> Alternative:
    if isinstance(argument, dict):
        return Like(_text("suffix", _only(argument, "suffix", "equals-ignore-case")), "suffix")
    return Suffix(_text("suffix", argument))


def _equals_ignore_case(argument: JSON) -> Alternative:
    return Like(_text("equals-ignore-case", argument))


def _wildcard(argument: JSON) -> Alternative:
    pieces = _split_stars(_text("wildcard", argument))
    return Wildcard(tuple(pieces), f"wildcard {quote(argument)}")


def _exists(argument: JSON) -> Alternative:
    if not isinstance(argument, bool):
        raise Refusal("exists takes true or false")
    return PRESENT if argument else ABSENT


def _numeric(argument: JSON) -> Alternative:
    if not isinstance(argument, list) or len(argument) not in (2, 4):
        raise Refusal('numeric takes [operator, number] or a range like [">", number, "<=", number]')
    bounds = [_bound(*pair) for pair in zip(argument[::2], argument[1::2], strict=True)]
    if len(bounds) == 2:
        _check_range(bounds)
    text = "numeric " + " and ".join(f"{name} {quote(bound)}" for name, bound in bounds)
    low, high = -math.inf, math.inf
    for name, bound in bounds:
        if name in _LOWER:
            low = math.nextafter(bound, math.inf) if name == ">" else bound
        if name in _UPPER:
            high = math.nextafter(bound, -math.inf) if name == "<" else bound
    return Between(low, high, text)


def _cidr(argument: JSON) -> Alternative:
    text = _text("cidr", argument)
    try:
        return Within(parse_block(text), f"cidr {quote(text)}")
    except ValueError as error:
        raise Refusal(str(error)) from None


def _anything_but(argument: JSON) -> Alternative:
    excluded = _excluded_by_operator(argument) if isinstance(argument, dict) else _excluded_values(argument)
    return Other(tuple(excluded), f"anything-but {quote(argument)}")


#: Every operator of content patterns by its name.
OPERATORS: dict[str, Callable[[JSON], Alternative]] = {
    "exactly": _exactly,
    "prefix": _prefix,
    "suffix": _suffix,
    "equals-ignore-case": _equals_ignore_case,
    "wildcard": _wildcard,
    "exists": _exists,
    "numeric": _numeric,
    "cidr": _cidr,
    "anything-but": _anything_but,
}

_NEGATABLE = ("prefix", "suffix", "equals-ignore-case", "wildcard")


def _excluded_values(argument: JSON) -> list[Alternative]:
    values = argument if isinstance(argument, list) else [argument]
    strings = all(isinstance(value, str) for value in values)
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    if not values or not (strings or numbers):
        raise Refusal("anything-but takes a string, a number, or a list of only strings or only numbers")
    return [Equals(_number(value) if numbers else value) for value in values]


def _excluded_by_operator(argument: dict[JSON, JSON]) -> list[Alternative]:
    if len(argument) != 1 or next(iter(argument)) not in _NEGATABLE:
        raise Refusal(f"anything-but takes one of {', '.join(_NEGATABLE)}, not {quote(argument)}")
    ((name, written),) = argument.items()
    texts = written if isinstance(written, list) else [written]
    if not texts or not all(isinstance(text, str) for text in texts):
        raise Refusal(f"{name} inside anything-but takes a string or a list of strings")
    if name in ("prefix", "suffix") and "" in texts:
        raise Refusal(f'every string has the {name} "", so anything-but would exclude all of them')
    return [OPERATORS[name](text) for text in texts]


# ── parts ─────────────────────────────────────────────────────────────────────────────────────────────────


def _scalar(written: JSON) -> Scalar:
    if isinstance(written, float) and not math.isfinite(written):
        raise Refusal("a number must be finite")
    if isinstance(written, int) and not limits.MIN_INTEGER <= written <= limits.MAX_INTEGER:
        raise Refusal("an integer must fit into 64 bits")
    if written is None or isinstance(written, str | int | float):
        return written
    raise Refusal(f"a value must be a string, number, boolean or null, not {type(written).__name__}")


def _number(written: JSON) -> int | float:
    value = _scalar(written)
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise Refusal(f"a number was expected, not {quote(written)}")
    number = number_of(value)
    if number is None:
        raise Refusal(f"{quote(value)} has more digits than a number that is compared can keep")
    return number


def _text(name: str, written: JSON) -> str:
    if not isinstance(written, str):
        raise Refusal(f"{name} takes a string, not {quote(written)}")
    return written


def _only(written: dict[JSON, JSON], name: str, key: str) -> JSON:
    if list(written) != [key]:
        raise Refusal(f'{name} takes a string or {{"{key}": string}}, not {quote(written)}')
    return written[key]


def _bound(name: JSON, bound: JSON) -> tuple[str, float]:
    if not isinstance(name, str) or name not in _COMPARISONS:
        raise Refusal(f"numeric knows {' '.join(_COMPARISONS)}, not {quote(name)}")
    if isinstance(bound, bool) or not isinstance(bound, int | float):
        raise Refusal(f"numeric {name} takes a number, not {quote(bound)}")
    return name, _number(bound)


def _check_range(bounds: Sequence[tuple[str, float]]) -> None:
    (lower, bottom), (upper, top) = bounds
    if lower not in (">", ">=") or upper not in ("<", "<="):
        raise Refusal("a numeric range is written with > or >= first and < or <= second")
    if bottom >= top:
        raise Refusal(f"a numeric range must go up: {quote(bottom)} is not less than {quote(top)}")


def _split_stars(pattern: str) -> list[str]:
    tokens = re.findall(r"\\[\\*]|[^\\]|\\", pattern, re.DOTALL)
    if "\\" in tokens:
        raise Refusal(f"in {quote(pattern)} a backslash must be followed by * or another backslash")
    if any(one == two == "*" for one, two in itertools.pairwise(tokens)):
        raise Refusal(f"in {quote(pattern)} two stars stand together; write one")
    if tokens.count("*") > MAX_STARS:
        raise Refusal(f"{quote(pattern)} has more than {MAX_STARS} stars")
    pieces = [""]
    for one in tokens:
        if one == "*":
            pieces.append("")
        else:
            pieces[-1] += one[-1]
    return pieces
