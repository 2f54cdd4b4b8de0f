"""CESQL's built-in functions (CloudEvents SQL v1, section 3.5). Pure.

`INT`, `BOOL`, `STRING` are explicit casts; `IS_INT` and `IS_BOOL` say whether a cast would succeed. A function is
found by name and number of arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from tidemill.patterns.cesql.values import (
    LARGEST,
    SMALLEST,
    ErrorKind,
    Errors,
    Kind,
    SqlError,
    Value,
    as_boolean,
    as_integer,
    as_string,
)

__all__ = ["FUNCTIONS", "Function", "find_function"]

#: White space as Unicode defines it; control characters that Python strips too are not in it.
_WHITE_SPACE = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)


class Function(NamedTuple):
    """One function of one arity."""

    #: Types of the arguments; None takes any.
    parameters: tuple[Kind | None, ...]
    returns: Kind
    #: Called with the arguments, cast, and the list that errors go to.
    call: Callable[[Sequence[Any], Errors], Value]
    #: Type of any number of further arguments; None when there are none.
    rest: Kind | None = None

    def kinds(self, count: int) -> list[Kind | None]:
        """The type of each of `count` arguments."""
        return [*self.parameters, *[self.rest] * (count - len(self.parameters))]


def find_function(name: str, arguments: int) -> Function | None:
    """The function `name` that takes so many arguments; None when there is none."""
    for function in FUNCTIONS.get(name.upper(), ()):
        fixed = len(function.parameters)
        if arguments == fixed or (function.rest is not None and arguments >= fixed):
            return function
    return None


def _left(arguments: Sequence[Any], errors: Errors) -> Value:
    text, count = arguments
    if count < 0:
        return _failed(errors, "LEFT takes no negative length", text)
    return str(text)[:count]


def _right(arguments: Sequence[Any], errors: Errors) -> Value:
    text, count = arguments
    if count < 0:
        return _failed(errors, "RIGHT takes no negative length", text)
    return str(text)[max(0, len(text) - count) :]


def _substring(arguments: Sequence[Any], errors: Errors) -> Value:
    text, place, *rest = arguments
    if not -len(text) <= place <= len(text):
        return _failed(errors, f"SUBSTRING from {place} of {len(text)} characters", "")
    if rest and rest[0] < 0:
        return _failed(errors, "SUBSTRING takes no negative length", "")
    if place == 0:
        return ""
    start = place - 1 if place > 0 else len(text) + place
    return str(text)[start : start + rest[0]] if rest else str(text)[start:]


def _abs(arguments: Sequence[Any], errors: Errors) -> Value:
    (number,) = arguments
    if number == SMALLEST:
        errors.append(SqlError(ErrorKind.MATH, f"ABS({SMALLEST}) is no 32 bit integer"))
        return LARGEST
    return abs(int(number))


def _failed(errors: Errors, message: str, value: Value) -> Value:
    errors.append(SqlError(ErrorKind.FUNCTION_EVALUATION, message))
    return value


def _is_int(arguments: Sequence[Any], errors: Errors) -> Value:
    return not _fails(as_integer, arguments[0])


def _is_bool(arguments: Sequence[Any], errors: Errors) -> Value:
    return not _fails(as_boolean, arguments[0])


def _fails(convert: Callable[[Value, Errors], Value], value: Value) -> bool:
    errors: Errors = []
    convert(value, errors)
    return bool(errors)


#: Every function by its name in upper case, by arity.
FUNCTIONS: dict[str, tuple[Function, ...]] = {
    "LENGTH": (Function((str,), int, lambda given, errors: len(given[0])),),
    "CONCAT": (Function((), str, lambda given, errors: "".join(given), str),),
    "CONCAT_WS": (Function((str,), str, lambda given, errors: given[0].join(given[1:]), str),),
    "LOWER": (Function((str,), str, lambda given, errors: given[0].lower()),),
    "UPPER": (Function((str,), str, lambda given, errors: given[0].upper()),),
    "TRIM": (Function((str,), str, lambda given, errors: given[0].strip(_WHITE_SPACE)),),
    "LEFT": (Function((str, int), str, _left),),
    "RIGHT": (Function((str, int), str, _right),),
    "SUBSTRING": (Function((str, int), str, _substring), Function((str, int, int), str, _substring)),
    "ABS": (Function((int,), int, _abs),),
    "INT": (Function((None,), int, lambda given, errors: as_integer(given[0], errors)),),
    "BOOL": (Function((None,), bool, lambda given, errors: as_boolean(given[0], errors)),),
    "STRING": (Function((None,), str, lambda given, errors: as_string(given[0])),),
    "IS_INT": (Function((None,), bool, _is_int),),
    "IS_BOOL": (Function((None,), bool, _is_bool),),
}
