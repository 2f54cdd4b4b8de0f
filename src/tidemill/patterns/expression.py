"""What a rule says, whichever dialect it was written in, and the function that checks an event for it. Pure.

`Clause` comes from content patterns, `Attribute` from filters and CESQL, `Computed` is evaluated (CEL, and what of
CESQL is no condition on one attribute); `Every`, `Some` and `Not` join them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any, assert_never

from tidemill.events.event import JSON, Event
from tidemill.patterns.branches import Branch, compile_branch, compile_json_branch
from tidemill.patterns.condition import Alternative, Equals, compile_test
from tidemill.patterns.members import CONTEXT_ATTRIBUTES, canonical

if TYPE_CHECKING:
    from tidemill.patterns.explanation import Explanation

__all__ = [
    "Attribute",
    "Check",
    "Clause",
    "Computed",
    "Every",
    "Expression",
    "JsonCheck",
    "Not",
    "Some",
    "compile_check",
    "compile_json_check",
    "conjuncts",
]

Check = Callable[[Event], bool]
JsonCheck = Callable[[Mapping[str, JSON]], bool]


@dataclass(frozen=True, slots=True, eq=False)
class Clause:
    """The event, as the JSON object it is in the JSON format, holds one of `branches`."""

    branches: tuple[Branch, ...]


@dataclass(frozen=True, slots=True)
class Attribute:
    """The attribute `name` is there and its text form is `wanted`."""

    name: str
    wanted: Alternative


@dataclass(frozen=True, slots=True, eq=False)
class Computed:
    """What a language of expressions says; `check` never raises."""

    check: Check
    #: Shows how `check` came to what it said.
    explain: Callable[[Event], Explanation]
    #: The same as conditions, as far as it can be said so; None when nothing of it can.
    conditions: Expression | None = None
    #: The same for any JSON object; None when the language speaks of CloudEvents only.
    json_check: JsonCheck | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Every:
    """All of `parts` hold (none: always)."""

    parts: tuple[Expression, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Some:
    """At least one of `parts` holds."""

    parts: tuple[Expression, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Not:
    """`part` does not hold."""

    part: Expression


Expression = Clause | Attribute | Computed | Every | Some | Not


def compile_check(expression: Expression) -> Check:
    """The function that tells whether an event holds `expression`; it never raises."""
    match expression:
        case Clause(branches):
            return _any_of([compile_branch(branch) for branch in branches])
        case Attribute(name, wanted):
            return _compile_attribute(name, wanted)
        case Computed(check, conditions=conditions):
            return check if conditions is None else compile_check(conditions)
        case Every(parts):
            return _all_of([compile_check(part) for part in parts])
        case Some(parts):
            return _any_of([compile_check(part) for part in parts])
        case Not(part):
            check = compile_check(part)
            return lambda event: not check(event)
        case _:
            assert_never(expression)


def compile_json_check(expression: Expression) -> JsonCheck | None:
    """The same for any JSON object; None when the expression speaks of CloudEvents attributes."""
    match expression:
        case Clause(branches):
            return _any_of([compile_json_branch(branch) for branch in branches])
        case Computed(json_check=json_check):
            return json_check
        case Every(parts):
            checks = [check for part in parts if (check := compile_json_check(part)) is not None]
            return _all_of(checks) if len(checks) == len(parts) else None
        case _:
            return None


def conjuncts(expression: Expression) -> Iterator[Expression]:
    """The parts of `expression` that must all hold, each as small as it can be told by itself."""
    match expression:
        case Every(parts):
            for part in parts:
                yield from conjuncts(part)
        case Computed(conditions=conditions) if conditions is not None:
            yield from conjuncts(conditions)
        case _:
            yield expression


def _all_of(checks: Sequence[Callable[[Any], bool]]) -> Callable[[Any], bool]:
    if len(checks) == 1:
        return checks[0]

    def check_all(value: Any) -> bool:
        for check in checks:  # noqa: SIM110 - the hot path: a generator costs more than the checks
            if not check(value):
                return False
        return True

    return check_all


def _any_of(checks: Sequence[Callable[[Any], bool]]) -> Callable[[Any], bool]:
    if len(checks) == 1:
        return checks[0]

    def check_any(value: Any) -> bool:
        for check in checks:  # noqa: SIM110 - as above
            if check(value):
                return True
        return False

    return check_any


def _compile_attribute(name: str, wanted: Alternative) -> Check:
    if name in CONTEXT_ATTRIBUTES:
        read = attrgetter(name)
        if isinstance(wanted, Equals):
            only = wanted.value
            return lambda event: bool(read(event) == only)
        test = compile_test([wanted])
        return lambda event: (value := read(event)) is not None and test(value)
    test = compile_test([wanted])
    return lambda event: (value := event.attribute(name)) is not None and test(canonical(value))
