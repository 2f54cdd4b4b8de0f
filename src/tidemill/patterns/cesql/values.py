"""CESQL's values, errors and casts (CloudEvents SQL v1, sections 3.1, 3.3 and 3.7). Pure."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final, NamedTuple

__all__ = [
    "LARGEST",
    "MISSING",
    "SMALLEST",
    "ErrorKind",
    "Errors",
    "Kind",
    "Missing",
    "SqlError",
    "Value",
    "as_boolean",
    "as_integer",
    "as_string",
    "cast",
]

SMALLEST, LARGEST = -(2**31), 2**31 - 1

Value = str | int | bool
#: The type of a value: String, Integer or Boolean.
Kind = type[str] | type[int] | type[bool]


class ErrorKind(StrEnum):
    """Kinds of errors, by the names that the conformance kit gives them."""

    PARSE = "parse"
    MATH = "math"
    CAST = "cast"
    MISSING_ATTRIBUTE = "missingAttribute"
    MISSING_FUNCTION = "missingFunction"
    FUNCTION_EVALUATION = "functionEvaluation"
    GENERIC = "generic"


class SqlError(NamedTuple):
    """One error of an evaluation."""

    kind: ErrorKind
    message: str


Errors = list[SqlError]


class Missing:
    """What an attribute that is not there evaluates to; whatever uses it gives its own zero value."""


MISSING: Final = Missing()

_INTEGER = re.compile(r"[+-]?[0-9]{1,20}\Z")


def as_string(value: Value) -> str:
    """`value` cast to String; it cannot fail."""
    if isinstance(value, str):
        return value
    return str(value).lower() if isinstance(value, bool) else str(value)


def as_integer(value: Value, errors: Errors) -> int:
    """`value` cast to Integer; 0 and an error when it is none."""
    if not isinstance(value, str):
        return int(value)
    if _INTEGER.match(value) and SMALLEST <= int(value) <= LARGEST:
        return int(value)
    errors.append(SqlError(ErrorKind.CAST, f"{_shown(value)} is no 32 bit integer"))
    return 0


def as_boolean(value: Value, errors: Errors) -> bool:
    """`value` cast to Boolean; false and an error when it is none."""
    if not isinstance(value, str):
        return bool(value)
    folded = value.lower()
    if folded in ("true", "false"):
        return folded == "true"
    errors.append(SqlError(ErrorKind.CAST, f"{_shown(value)} is no boolean"))
    return False


def cast(value: Value, kind: Kind, errors: Errors) -> Value:
    """`value` cast to `kind`."""
    if kind is str:
        return as_string(value)
    return as_boolean(value, errors) if kind is bool else as_integer(value, errors)


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:37]}...")
