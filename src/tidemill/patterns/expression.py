"""What a rule says, whichever dialect it was written in, and the function that checks an event for it. Pure.

`Clause` comes from content patterns, `Attribute` from filters; `Every`, `Some` and `Not` join them.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import assert_never

from tidemill.events.event import JSON, Event, ExtensionValue
from tidemill.patterns.condition import Alternative, Equals, Scalar, compile_test
from tidemill.patterns.fields import ABSENT, FAILS, Answer, Node, compile_node

__all__ = [
    "CONTEXT_ATTRIBUTES",
    "Attribute",
    "Check",
    "Clause",
    "Every",
    "Expression",
    "JsonCheck",
    "Not",
    "Some",
    "all_of",
    "canonical",
    "compile_check",
    "compile_json_check",
    "conjuncts",
    "read_member",
]

Check = Callable[[Event], bool]
JsonCheck = Callable[[Mapping[str, JSON]], bool]

#: Context attributes that are fields of `Event`.
CONTEXT_ATTRIBUTES = frozenset({"id", "source", "type", "subject", "time", "datacontenttype", "dataschema"})


@dataclass(frozen=True, slots=True, eq=False)
class Clause:
    """The event, as the JSON object it is in the JSON format, holds `node`."""

    node: Node


@dataclass(frozen=True, slots=True, eq=False)
class Attribute:
    """The attribute `name` is there and its text form is `wanted`."""

    name: str
    wanted: Alternative


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


Expression = Clause | Attribute | Every | Some | Not


def canonical(value: ExtensionValue) -> str:
    """An attribute's value as text, as the CloudEvents type system writes it."""
    if isinstance(value, str):
        return value
    return str(value).lower() if isinstance(value, bool) else str(value)


def read_member(event: Event, name: str) -> JSON:
    """The member `name` of the event's JSON form; None when there is none (null data is none)."""
    match name:
        case "data":
            return None if isinstance(event.data, bytes) else event.data
        case "data_base64":
            return base64.b64encode(event.data).decode() if isinstance(event.data, bytes) else None
        case _:
            return event.attribute(name)


def compile_check(expression: Expression) -> Check:
    """The function that tells whether an event holds `expression`; it never raises."""
    match expression:
        case Clause(node):
            return _compile_clause(node)
        case Attribute(name, wanted):
            return _compile_attribute(name, wanted)
        case Every(parts):
            return all_of([compile_check(part) for part in parts])
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
        case Clause(node):
            answer = compile_node(node)
            return lambda value: answer(value) != FAILS
        case Every(parts):
            checks = [check for part in parts if (check := compile_json_check(part)) is not None]
            return (
                (lambda value: all(check(value) for check in checks)) if len(checks) == len(parts) else None
            )
        case _:
            return None


def all_of(checks: Sequence[Check]) -> Check:
    """One check for several that must all pass."""
    if len(checks) == 1:
        return checks[0]

    def check_all(event: Event) -> bool:
        for check in checks:  # noqa: SIM110 - the hot path: a generator costs more than the checks
            if not check(event):
                return False
        return True

    return check_all


def _any_of(checks: list[Check]) -> Check:
    def check_any(event: Event) -> bool:
        for check in checks:  # noqa: SIM110 - as above
            if check(event):
                return True
        return False

    return check_any


def conjuncts(expression: Expression) -> Iterator[Expression]:
    """The parts of `expression` that must all hold, each as small as it can be told by itself."""
    match expression:
        case Every(parts):
            for part in parts:
                yield from conjuncts(part)
        case Clause(node):
            for name, below in sorted(node.fields.items(), key=_data_last):
                yield Clause(Node(fields={name: below}))
            for group in node.groups:
                yield Clause(Node(groups=(group,)))
        case _:
            yield expression


def _compile_attribute(name: str, wanted: Alternative) -> Check:
    if name in CONTEXT_ATTRIBUTES and isinstance(wanted, Equals):
        return _compile_equality(name, [wanted.value])
    test = compile_test([wanted])
    if name in CONTEXT_ATTRIBUTES:
        read = attrgetter(name)
        return lambda event: (value := read(event)) is not None and test(value)
    return lambda event: (value := event.attribute(name)) is not None and test(canonical(value))


def _compile_equality(name: str, values: Sequence[Scalar]) -> Check:
    """The most frequent check: a text attribute is one of `values`."""
    read = attrgetter(name)
    if len(values) == 1:
        (only,) = values
        return lambda event: bool(read(event) == only)
    wanted = frozenset(values)
    return lambda event: read(event) in wanted


def _plain_values(node: Node) -> list[Scalar] | None:
    """The strings that `node` accepts, when it asks for nothing but one of them."""
    match node:
        case Node(fields={**below}, leaves=(leaf,), groups=()) if not below:
            values = [one.value for one in leaf.alternatives if isinstance(one, Equals)]
            all_text = all(isinstance(value, str) for value in values)
            return values if all_text and len(values) == len(leaf.alternatives) else None
        case _:
            return None


def _compile_clause(node: Node) -> Check:
    checks = [_compile_member(name, one) for name, one in sorted(node.fields.items(), key=_data_last)]
    checks.extend(_any_of([_compile_clause(arm) for arm in group]) for group in node.groups)
    return all_of(checks)


def _data_last(item: tuple[str, Node]) -> tuple[bool, str]:
    """Attributes are cheaper to look at than data."""
    return item[0] == "data", item[0]


def _compile_member(name: str, node: Node) -> Check:
    if name in CONTEXT_ATTRIBUTES and (values := _plain_values(node)) is not None:
        return _compile_equality(name, values)
    answer: Answer = compile_node(node)
    missing = (ABSENT if node.accepts_absence else FAILS) != FAILS
    if name in CONTEXT_ATTRIBUTES:
        read = attrgetter(name)
        return lambda event: missing if (value := read(event)) is None else answer(value) != FAILS
    if name == "data":
        return lambda event: (
            missing if (value := event.data) is None or isinstance(value, bytes) else answer(value) != FAILS
        )
    return lambda event: missing if (value := read_member(event, name)) is None else answer(value) != FAILS
