"""CESQL's operators on values that are there (CloudEvents SQL v1, section 3.4). Pure.

A sum, product or difference past 32 bits is 0 and a math error: the specification leaves it open.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence

from tidemill.patterns import texts
from tidemill.patterns.cesql.values import (
    LARGEST,
    SMALLEST,
    ErrorKind,
    Errors,
    Missing,
    SqlError,
    Value,
    as_integer,
    cast,
)

__all__ = ["apply", "like_pieces", "like_test", "like_tokens", "negative"]

_COMPARISONS: dict[str, Callable[[int, int], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def apply(sign: str, left: Value | Missing, right: Value | Missing, errors: Errors) -> Value:
    """`left sign right` of a comparison or of arithmetic; the zero value where one of them is missing."""
    compares = sign in _COMPARISONS or sign in ("=", "!=", "<>")
    if isinstance(left, Missing) or isinstance(right, Missing):
        return False if compares else 0
    before = len(errors)
    if sign in ("=", "!=", "<>"):
        # the right operand's type decides which = it is
        equal = cast(left, type(right), errors) == right
        return len(errors) == before and equal is (sign == "=")
    first, second = as_integer(left, errors), as_integer(right, errors)
    if len(errors) > before:
        return False if compares else 0
    return _COMPARISONS[sign](first, second) if compares else _arithmetic(sign, first, second, errors)


def negative(value: Value | Missing, errors: Errors) -> int:
    """`-value`."""
    return 0 if isinstance(value, Missing) else _in_range(-as_integer(value, errors), errors)


def like_tokens(pattern: str) -> list[str | int]:
    """The pattern of LIKE: characters, `texts.ONE` for `_` and `texts.ANY` for `%`."""
    tokens: list[str | int] = []
    at = 0
    while at < len(pattern):
        char = pattern[at]
        if char == "\\" and pattern[at + 1 : at + 2] in ("%", "_"):
            at += 1
            tokens.append(pattern[at])
        elif char == "%":
            tokens.append(texts.ANY)
        else:
            tokens.append(texts.ONE if char == "_" else char)
        at += 1
    return tokens


def like_test(pattern: str) -> texts.TextTest:
    """Whether a text is like `pattern`; linear in the text."""
    tokens = like_tokens(pattern)
    if texts.ONE in tokens:
        return texts.follow(tokens)
    return texts.has_pieces(like_pieces(tokens))


def like_pieces(tokens: Sequence[str | int]) -> list[str]:
    """The texts between the `%` of a pattern that has no `_`."""
    pieces = [""]
    for token in tokens:
        if token == texts.ANY:
            pieces.append("")
        else:
            pieces[-1] += str(token)
    return pieces


def _arithmetic(sign: str, first: int, second: int, errors: Errors) -> int:
    match sign:
        case "+":
            return _in_range(first + second, errors)
        case "-":
            return _in_range(first - second, errors)
        case "*":
            return _in_range(first * second, errors)
    if second == 0:
        errors.append(SqlError(ErrorKind.MATH, f"{first} {sign} 0"))
        return 0
    quotient = abs(first) // abs(second)
    if (first < 0) is not (second < 0):
        quotient = -quotient
    return _in_range(quotient, errors) if sign == "/" else first - quotient * second


def _in_range(number: int, errors: Errors) -> int:
    if SMALLEST <= number <= LARGEST:
        return number
    errors.append(SqlError(ErrorKind.MATH, f"{number} is no 32 bit integer"))
    return 0
