"""Why a rule matches an event or not: each condition, what was found, whether it holds. Pure.

For people: `matches` decides, this tells. Inside an array each condition is shown for itself, so all may hold
and the rule still not match, when they hold on different elements.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, assert_never

from tidemill.events.event import JSON, Event
from tidemill.patterns.condition import compile_test, quote
from tidemill.patterns.expression import (
    Attribute,
    Clause,
    Every,
    Expression,
    Not,
    Some,
    canonical,
    read_member,
)
from tidemill.patterns.fields import Leaf, Node, scalars
from tidemill.patterns.rule import Rule

__all__ = ["Finding", "explain"]


class Finding(NamedTuple):
    """One condition of a rule and what an event has for it."""

    #: Attribute name or dotted path.
    path: str
    #: What is wanted, as text; alternatives are joined by "or".
    condition: str
    #: The values at `path`; empty when there is none.
    found: tuple[JSON, ...]
    holds: bool

    def __str__(self) -> str:
        found = " and ".join(quote(value) for value in self.found) or "not there"
        verdict = "yes" if self.holds else "no"
        return f"{verdict}: {self.path} is {found}, wanted {self.condition}"


def explain(rule: Rule, event: Event) -> list[Finding]:
    """What each condition of `rule` finds in `event`, in the order in which they were written."""
    return list(_explain(rule.expression, event))


def _explain(expression: Expression, event: Event) -> Iterator[Finding]:
    match expression:
        case Clause(node):
            yield from _explain_node(node, event, ())
        case Attribute(name, wanted):
            value = event.attribute(name)
            holds = value is not None and compile_test([wanted])(canonical(value))
            yield Finding(name, str(wanted), () if value is None else (value,), holds)
        case Every(parts) | Some(parts):
            for part in parts:
                yield from _explain(part, event)
        case Not(part):
            for finding in _explain(part, event):
                yield finding._replace(condition=f"not {finding.condition}", holds=not finding.holds)
        case _:
            assert_never(expression)


def _explain_node(node: Node, event: Event, path: tuple[str, ...]) -> Iterator[Finding]:
    for leaf in node.leaves:
        found = tuple(_find(event, path))
        yield Finding(".".join(path), str(leaf), found, _holds(leaf, found))
    for name, below in node.fields.items():
        yield from _explain_node(below, event, (*path, name))
    for group in node.groups:
        for arm in group:
            yield from _explain_node(arm, event, path)


def _holds(leaf: Leaf, found: Sequence[JSON]) -> bool:
    if not found:
        return leaf.accepts_absence
    return any(map(compile_test(leaf.alternatives), found))


def _find(event: Event, path: Sequence[str]) -> Iterator[JSON]:
    value = read_member(event, path[0])
    return iter(()) if value is None else _values(value, path[1:])


def _values(value: JSON, path: Sequence[str]) -> Iterator[JSON]:
    """The scalars at `path` below `value`, through arrays and dotted keys."""
    if not path:
        yield from scalars(value)
        return
    pending = [value]
    while pending:
        one = pending.pop()
        if isinstance(one, list):
            pending.extend(reversed(one))
        elif isinstance(one, dict):
            for end in range(1, len(path) + 1):
                key = ".".join(path[:end])
                if key in one:
                    yield from _values(one[key], path[end:])
