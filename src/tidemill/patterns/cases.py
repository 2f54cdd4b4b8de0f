"""A rule as cases: conjunctions of constraints on single values, of branches on data, and of what is closed. Pure.

Cases say the same as the rule: an event matches exactly when it fulfils one of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import assert_never

from tidemill.patterns.branches import Branch, Condition
from tidemill.patterns.condition import ABSENT, Alternative, Other
from tidemill.patterns.expression import Attribute, Clause, Computed, Every, Expression, Not, Some
from tidemill.patterns.members import CONTEXT_ATTRIBUTES

__all__ = ["Case", "Constraint", "TooManyCases", "cases_of"]

#: Cases that a rule is brought into at most.
_MAX_CASES = 256
_DATA = frozenset({"data", "data_base64"})

#: A single value: its name, and whether it is compared as text ("text") or as it is in JSON ("value").
_Place = tuple[str, str]
#: What a value must pass one of.
Constraint = tuple[Alternative, ...]


@dataclass(frozen=True, slots=True)
class Case:
    """Everything in it must hold together."""

    values: Mapping[_Place, tuple[Constraint, ...]] = field(default_factory=dict)
    #: Conditions on data that are chosen together.
    branches: tuple[tuple[Condition, ...], ...] = ()
    #: Expressions that can not be looked into, each with whether it must hold.
    closed: frozenset[tuple[int, bool]] = frozenset()

    def joined(self, other: Case) -> Case:
        """Both together."""
        values = dict(self.values)
        for place, constraints in other.values.items():
            values[place] = (*values.get(place, ()), *constraints)
        return Case(values, self.branches + other.branches, self.closed | other.closed)


class TooManyCases(Exception):  # noqa: N818 - an answer, not an error
    """A rule has more cases than are looked at."""


def cases_of(expression: Expression, *, holds: bool = True) -> list[Case]:
    """The cases in which `expression` holds, or does not; raises `TooManyCases`."""
    match expression:
        case Every(parts):
            return _product(parts, holds=True) if holds else _sum(parts, holds=False)
        case Some(parts):
            return _sum(parts, holds=True) if holds else _product(parts, holds=False)
        case Not(part):
            return cases_of(part, holds=not holds)
        case Computed(conditions=conditions) if conditions is not None:
            return cases_of(conditions, holds=holds)
        case Attribute(name, wanted):
            constraint: Constraint = (wanted,) if holds else (ABSENT, Other((wanted,), f"not {wanted}"))
            return [Case({("text", name): (constraint,)})]
        case Clause(branches) if holds:
            return _bounded([_case_of(branch) for branch in branches])
        case Clause() | Computed():
            return [Case(closed=frozenset({(id(expression), holds)}))]
        case _:
            assert_never(expression)


def _sum(parts: Sequence[Expression], *, holds: bool) -> list[Case]:
    return _bounded([case for part in parts for case in cases_of(part, holds=holds)])


def _product(parts: Sequence[Expression], *, holds: bool) -> list[Case]:
    found = [Case()]
    for part in parts:
        cases = cases_of(part, holds=holds)
        if len(found) * len(cases) > _MAX_CASES:
            raise TooManyCases
        found = [one.joined(other) for one in found for other in cases]
    return found


def _bounded(cases: list[Case]) -> list[Case]:
    if len(cases) > _MAX_CASES:
        raise TooManyCases
    return cases


def _case_of(branch: Branch) -> Case:
    values: dict[_Place, tuple[Constraint, ...]] = {}
    data = []
    for one in branch.conditions:
        if one.path.partition(".")[0] in _DATA:
            data.append(one)
        else:
            # Attributes are single values: nothing is chosen among them. Those of the specification are texts.
            kind = "text" if one.path in CONTEXT_ATTRIBUTES else "value"
            values[kind, one.path] = (one.alternatives,)
    return Case(values, (tuple(data),) if data else ())
