"""What one value must be: the alternatives of a field, and the test compiled from them. Pure.

1. A test sees scalars only (string, number, boolean, null); arrays are taken apart by `arrays` and `paths`.
2. Types never mix: "5", 5 and true are three values; 5 and 5.0 are one.
3. `Absent` is no test of a value: it speaks of there being none.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import assert_never

from tidemill.events.event import JSON
from tidemill.patterns import texts
from tidemill.patterns.addresses import WIDTHS, Block, parse_address
from tidemill.patterns.numbers import EXACT, key_of, number_of

__all__ = [
    "ABSENT",
    "PRESENT",
    "Absent",
    "Alternative",
    "Between",
    "Equals",
    "Like",
    "Other",
    "Prefix",
    "Present",
    "Scalar",
    "Suffix",
    "Test",
    "Wildcard",
    "Within",
    "compile_test",
    "quote",
]

Scalar = str | int | float | bool | None
Test = Callable[[JSON], bool]


@dataclass(frozen=True, slots=True, eq=False)
class Equals:
    """The value is `value`, type included."""

    value: Scalar

    def __eq__(self, other: object) -> bool:
        # for Python, true and 1 are equal
        return isinstance(other, Equals) and key_of(self.value) == key_of(other.value)

    def __hash__(self) -> int:
        return hash(key_of(self.value))

    def __str__(self) -> str:
        return quote(self.value)


@dataclass(frozen=True, slots=True)
class Like:
    """The value is a string that is `text`, begins or ends with it, whatever the case."""

    text: str
    #: "equals", "prefix" or "suffix".
    part: str = "equals"

    def __str__(self) -> str:
        if self.part == "equals":
            return f"equals-ignore-case {quote(self.text)}"
        return f"{self.part} {quote({'equals-ignore-case': self.text})}"


@dataclass(frozen=True, slots=True)
class Prefix:
    """The value is a string that begins with `prefix`."""

    prefix: str

    def __str__(self) -> str:
        return f"prefix {quote(self.prefix)}"


@dataclass(frozen=True, slots=True)
class Suffix:
    """The value is a string that ends with `suffix`."""

    suffix: str

    def __str__(self) -> str:
        return f"suffix {quote(self.suffix)}"


@dataclass(frozen=True, slots=True)
class Wildcard:
    """The value is a string made of `pieces` in this order, with any text between them."""

    pieces: tuple[str, ...]
    #: As it was written, operator included.
    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Between:
    """The value is a number from `low` to `high`, both included (an open end is the double next to it)."""

    low: float
    high: float
    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Within:
    """The value is a string that is an IP address of `block`."""

    block: Block
    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Other:
    """There is a value, and it is none of `excluded`."""

    excluded: tuple[Alternative, ...]
    #: What is excluded as it was written, for people.
    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Present:
    """There is a value."""

    def __str__(self) -> str:
        return "exists: true"


@dataclass(frozen=True, slots=True)
class Absent:
    """There is no value."""

    def __str__(self) -> str:
        return "exists: false"


Alternative = Equals | Like | Prefix | Suffix | Wildcard | Between | Within | Other | Present | Absent

ABSENT = Absent()
PRESENT = Present()


def compile_test(alternatives: Sequence[Alternative]) -> Test:
    """One test that passes where any of `alternatives` does (`Absent` never passes)."""
    values = [one.value for one in alternatives if isinstance(one, Equals)]
    tests = [_membership(values)] if values else []
    prefixes = tuple(one.prefix for one in alternatives if isinstance(one, Prefix))
    if prefixes:
        tests.append(lambda value: isinstance(value, str) and value.startswith(prefixes))
    suffixes = tuple(one.suffix for one in alternatives if isinstance(one, Suffix))
    if suffixes:
        tests.append(lambda value: isinstance(value, str) and value.endswith(suffixes))
    tests.extend(
        _single(one) for one in alternatives if not isinstance(one, Equals | Prefix | Suffix | Absent)
    )
    return _any_of(tests)


def quote(value: JSON) -> str:
    """`value` as JSON, shortened, for texts that people read."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        text = type(value).__name__
    return text if len(text) <= 80 else f"{text[:77]}..."


def _membership(values: Sequence[Scalar]) -> Test:
    if all(type(value) is str for value in values):
        if len(values) == 1:
            only = values[0]
            return lambda value: bool(value == only)
        # no value of another type equals a string, and all are hashable
        return frozenset(values).__contains__
    keys = frozenset(map(key_of, values))
    return lambda value: key_of(value) in keys


def _single(one: Like | Wildcard | Between | Within | Other | Present) -> Test:
    match one:
        case Like(text, "equals"):
            return _of_text(texts.equals_like(text))
        case Like(text, "prefix"):
            return _of_text(texts.starts_like(text))
        case Like(text):
            return _of_text(texts.ends_like(text))
        case Wildcard(pieces):
            return _of_text(texts.has_pieces(pieces))
        case Between():
            return _between(one)
        case Within(block):
            return _within(block)
        case Other(excluded):
            test = compile_test(excluded)
            return lambda value: not test(value)
        case Present():
            return lambda value: True
        case _:
            assert_never(one)


def _of_text(test: texts.TextTest) -> Test:
    return lambda value: isinstance(value, str) and test(value)


def _between(wanted: Between) -> Test:
    low, high = wanted.low, wanted.high

    def between(value: JSON) -> bool:
        kind = type(value)
        if kind is float:
            return bool(low <= value <= high)
        if kind is not int:
            return False
        number = value if -EXACT <= value <= EXACT else number_of(value)
        return number is not None and low <= number <= high

    return between


def _within(block: Block) -> Test:
    version, prefix, bits = block
    shift = WIDTHS[version] - bits

    def within(value: JSON) -> bool:
        if not isinstance(value, str):
            return False
        address = parse_address(value)
        return address is not None and address[0] == version and address[1] >> shift == prefix

    return within


def _any_of(tests: Sequence[Test]) -> Test:
    match tests:
        case []:
            return lambda value: False
        case [only]:
            return only
        case _:
            return lambda value: any(test(value) for test in tests)
