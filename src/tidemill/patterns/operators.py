"""The operators of content patterns: one written alternative → one `Alternative`. Pure.

Each operator stands in `OPERATORS`; what is not there is refused. A parser raises `Refusal` with one
sentence; where it stands is added by the caller.
"""

from __future__ import annotations

import ipaddress
import itertools
import math
import operator
import re
from collections.abc import Callable, Sequence

from tidemill.events import limits
from tidemill.events.event import JSON
from tidemill.patterns import condition
from tidemill.patterns.condition import Absent, Alternative, Between, Equals, Predicate, Prefix, Test, quote

__all__ = ["MAX_STARS", "OPERATORS", "Refusal", "parse_alternative"]

#: Most `*` in one wildcard: it bounds the cost of a text that almost matches.
MAX_STARS = 5

_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "=": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_LOWER = ("=", ">", ">=")
_UPPER = ("=", "<", "<=")
Bound = tuple[Callable[[float, float], bool], float]


class Refusal(Exception):  # noqa: N818 - carries one problem to the compiler, never leaves the package
    """An operator as written is refused; the text says why."""


def parse_alternative(written: JSON) -> Alternative:
    """The alternative that `written` states: a scalar, or an object of one operator."""
    if isinstance(written, dict):
        return _parse_operator(written)
    if isinstance(written, list):
        raise Refusal("an alternative must be a string, number, boolean, null or an operator, not an array")
    return Equals(_scalar(written))


def _parse_operator(written: dict[JSON, JSON]) -> Alternative:
    if len(written) != 1:
        raise Refusal(f"an operator object must have exactly one key, this one has {len(written)}")
    ((name, argument),) = written.items()
    if not isinstance(name, str) or name not in OPERATORS:
        raise Refusal(f"operator {quote(name)} is not supported; there are {', '.join(sorted(OPERATORS))}")
    return OPERATORS[name](argument)


# ── one parser per operator ───────────────────────────────────────────────────────────────────────────────


def _prefix(argument: JSON) -> Alternative:
    if isinstance(argument, dict):
        folded = _text("prefix", _only(argument, "prefix", "equals-ignore-case")).casefold()
        return Predicate(
            lambda value: isinstance(value, str) and value.casefold().startswith(folded),
            f"prefix {quote(argument)}",
        )
    return Prefix(_text("prefix", argument))


def _suffix(argument: JSON) -> Alternative:
    text = f"suffix {quote(argument)}"
    if isinstance(argument, dict):
        folded = _text("suffix", _only(argument, "suffix", "equals-ignore-case")).casefold()
        return Predicate(lambda value: isinstance(value, str) and value.casefold().endswith(folded), text)
    suffix = _text("suffix", argument)
    return Predicate(lambda value: isinstance(value, str) and value.endswith(suffix), text)


def _equals_ignore_case(argument: JSON) -> Alternative:
    folded = _text("equals-ignore-case", argument).casefold()
    return Predicate(
        lambda value: isinstance(value, str) and value.casefold() == folded,
        f"equals-ignore-case {quote(argument)}",
    )


def _wildcard(argument: JSON) -> Alternative:
    return Predicate(_glob(_text("wildcard", argument)), f"wildcard {quote(argument)}")


def _exists(argument: JSON) -> Alternative:
    if not isinstance(argument, bool):
        raise Refusal("exists takes true or false")
    return Predicate(lambda value: True, "exists: true") if argument else Absent()


def _numeric(argument: JSON) -> Alternative:
    if not isinstance(argument, list) or len(argument) not in (2, 4):
        raise Refusal('numeric takes [operator, number] or a range like [">", number, "<=", number]')
    bounds = [_bound(*pair) for pair in zip(argument[::2], argument[1::2], strict=True)]
    if len(bounds) == 2:
        _check_range(bounds)
    text = "numeric " + " and ".join(f"{name} {quote(bound)}" for name, bound in bounds)
    compares = [(_COMPARISONS[name], bound) for name, bound in bounds]
    return Between(
        _in_bounds(*compares),
        text,
        low=max((bound for name, bound in bounds if name in _LOWER), default=-math.inf),
        high=min((bound for name, bound in bounds if name in _UPPER), default=math.inf),
    )


def _cidr(argument: JSON) -> Alternative:
    text = _text("cidr", argument)
    address, slash, bits = text.partition("/")
    if not slash or not re.fullmatch(r"[0-9]{1,3}", bits) or "%" in address:
        raise Refusal(f"cidr takes an address and a number of bits, like 10.0.0.0/8, not {quote(text)}")
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise Refusal(f"{quote(text)} is not a block of IP addresses") from None

    def within(value: JSON) -> bool:
        if not isinstance(value, str) or "%" in value:
            return False
        try:
            return ipaddress.ip_address(value) in network
        except ValueError:
            return False

    return Predicate(within, f"cidr {quote(text)}")


def _anything_but(argument: JSON) -> Alternative:
    excluded = _excluded_by_operator(argument) if isinstance(argument, dict) else _excluded_values(argument)
    return Predicate(lambda value: not excluded(value), f"anything-but {quote(argument)}")


#: Every operator of content patterns by its name.
OPERATORS: dict[str, Callable[[JSON], Alternative]] = {
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


def _excluded_values(argument: JSON) -> Test:
    values = argument if isinstance(argument, list) else [argument]
    strings = all(isinstance(value, str) for value in values)
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    if not values or not (strings or numbers):
        raise Refusal("anything-but takes a string, a number, or a list of only strings or only numbers")
    return condition.compile_test([Equals(_scalar(value)) for value in values])


def _excluded_by_operator(argument: dict[JSON, JSON]) -> Test:
    if len(argument) != 1 or next(iter(argument)) not in _NEGATABLE:
        raise Refusal(f"anything-but takes one of {', '.join(_NEGATABLE)}, not {quote(argument)}")
    ((name, written),) = argument.items()
    texts = written if isinstance(written, list) else [written]
    if not texts or not all(isinstance(text, str) for text in texts):
        raise Refusal(f"{name} inside anything-but takes a string or a list of strings")
    if name in ("prefix", "suffix") and "" in texts:
        raise Refusal(f'every string has the {name} "", so anything-but would exclude all of them')
    return condition.compile_test([OPERATORS[name](text) for text in texts])


def _in_bounds(first: Bound, second: Bound | None = None) -> Test:
    """A test for numbers; two closures rather than a loop, as this is the hot path."""
    compare, bound = first

    def in_one(value: JSON) -> bool:
        kind = type(value)
        return (kind is int or kind is float) and compare(value, bound)

    if second is None:
        return in_one
    compare_too, bound_too = second
    return lambda value: in_one(value) and compare_too(value, bound_too)


# ── parts ─────────────────────────────────────────────────────────────────────────────────────────────────


def _scalar(written: JSON) -> condition.Scalar:
    if isinstance(written, float) and not math.isfinite(written):
        raise Refusal("a number must be finite")
    if isinstance(written, int) and not limits.MIN_INTEGER <= written <= limits.MAX_INTEGER:
        raise Refusal("an integer must fit into 64 bits")
    if written is None or isinstance(written, str | int | float):
        return written
    raise Refusal(f"a value must be a string, number, boolean or null, not {type(written).__name__}")


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
    _scalar(bound)
    return name, bound


def _check_range(bounds: Sequence[tuple[str, float]]) -> None:
    (lower, bottom), (upper, top) = bounds
    if lower not in (">", ">=") or upper not in ("<", "<="):
        raise Refusal("a numeric range is written with > or >= first and < or <= second")
    if bottom >= top:
        raise Refusal(f"a numeric range must go up: {quote(bottom)} is not less than {quote(top)}")


def _glob(pattern: str) -> Test:
    """A test for `pattern` (`*` is any text, `\\*` a star, `\\\\` a backslash), linear in the value."""
    pieces = _split_stars(pattern)
    if len(pieces) == 1:
        return lambda value: bool(value == pieces[0])
    head, *middle, tail = pieces
    shortest = sum(len(piece) for piece in pieces)

    def matches(value: JSON) -> bool:
        if not isinstance(value, str) or len(value) < shortest:
            return False
        if not (value.startswith(head) and value.endswith(tail)):
            return False
        at, end = len(head), len(value) - len(tail)
        for piece in middle:
            found = value.find(piece, at, end)
            if found < 0:
                return False
            at = found + len(piece)
        return True

    return matches


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
