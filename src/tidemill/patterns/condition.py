"""What one value must be: the alternatives of a leaf, and the test compiled from them. Pure.

1. A test sees scalars only (string, number, boolean, null); arrays are taken apart by `fields`.
2. Types never mix: "5", 5 and true are three values; 5 and 5.0 are one.
3. `Absent` is no test of a value: it speaks of there being none.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tidemill.events.event import JSON

__all__ = [
    "Absent",
    "Alternative",
    "Between",
    "Equals",
    "Predicate",
    "Prefix",
    "Scalar",
    "Test",
    "compile_test",
    "quote",
]

Scalar = str | int | float | bool | None
Test = Callable[[JSON], bool]


@dataclass(frozen=True, slots=True)
class Equals:
    """The value is `value`, type included."""

    value: Scalar

    def __str__(self) -> str:
        return quote(self.value)


@dataclass(frozen=True, slots=True)
class Prefix:
    """The value is a string that begins with `prefix`."""

    prefix: str

    def __str__(self) -> str:
        return f"prefix {quote(self.prefix)}"


@dataclass(frozen=True, slots=True)
class Predicate:
    """The value passes `test`; `text` says which test, for people."""

    test: Test
    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Between:
    """The value is a number from `low` to `high`, which pass `test` themselves or not."""

    test: Test
    text: str
    low: float
    high: float

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Absent:
    """There is no value."""

    def __str__(self) -> str:
        return "exists: false"


Alternative = Equals | Prefix | Between | Predicate | Absent


def compile_test(alternatives: Sequence[Alternative]) -> Test:
    """One test that passes where any of `alternatives` does (`Absent` never passes)."""
    tests: list[Test] = []
    values = [one.value for one in alternatives if isinstance(one, Equals)]
    if values:
        tests.append(_membership(values))
    prefixes = tuple(one.prefix for one in alternatives if isinstance(one, Prefix))
    if prefixes:
        tests.append(lambda value: isinstance(value, str) and value.startswith(prefixes))
    tests.extend(one.test for one in alternatives if isinstance(one, Between | Predicate))
    return _any_of(tests)


def quote(value: JSON) -> str:
    """`value` as JSON, shortened, for texts that people read."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        text = type(value).__name__
    return text if len(text) <= 80 else f"{text[:77]}..."


def _membership(values: Sequence[Scalar]) -> Test:
    wanted = frozenset(value for value in values if not isinstance(value, bool))
    truths = frozenset(value for value in values if isinstance(value, bool))
    if not truths and not wanted & {0, 1}:
        return wanted.__contains__
    # True == 1 and False == 0 in Python, never here.
    return lambda value: value in (truths if isinstance(value, bool) else wanted)


def _any_of(tests: Sequence[Test]) -> Test:
    match tests:
        case []:
            return lambda value: False
        case [only]:
            return only
        case _:
            return lambda value: any(test(value) for test in tests)
