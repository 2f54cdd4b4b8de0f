"""Why a rule matches an event or not: the tree of what it says, with what was found and whether it holds. Pure.

For people: `matches` decides, this tells. Each condition is shown for itself; where all of a branch hold and the
branch does not, they hold on different elements of an array, and a note says so.
"""

from __future__ import annotations

from typing import assert_never

from tidemill.events.event import Event
from tidemill.patterns.arrays import values_at
from tidemill.patterns.branches import Branch, Condition, compile_branch
from tidemill.patterns.condition import compile_test
from tidemill.patterns.explanation import Explanation
from tidemill.patterns.expression import Attribute, Clause, Computed, Every, Expression, Not, Some
from tidemill.patterns.members import canonical, members_of
from tidemill.patterns.rule import Rule

__all__ = ["explain"]

_APART = "not together on one element of the array"


def explain(rule: Rule, event: Event) -> Explanation:
    """What each condition of `rule` finds in `event`; the root holds exactly when the rule matches."""
    return _explain(rule.expression, event)


def _explain(expression: Expression, event: Event) -> Explanation:
    match expression:
        case Clause(branches):
            return _any_of([_explain_branch(branch, event) for branch in branches])
        case Attribute(name, wanted):
            value = event.attribute(name)
            holds = value is not None and compile_test([wanted])(canonical(value))
            return Explanation("condition", holds, name, str(wanted), () if value is None else (value,))
        case Computed(explain=explain):
            return explain(event)
        case Every(parts):
            return _all_of([_explain(part, event) for part in parts])
        case Some(parts):
            return _any_of([_explain(part, event) for part in parts])
        case Not(part):
            below = _explain(part, event)
            return Explanation("not", not below.holds, parts=(below,))
        case _:
            assert_never(expression)


def _explain_branch(branch: Branch, event: Event) -> Explanation:
    told = _all_of([_explain_condition(condition, event) for condition in branch.conditions])
    holds = compile_branch(branch)(event)
    if holds is told.holds:
        return told
    # absence may hold on the chosen element only, the other way round conditions may lie apart
    return Explanation("all", holds, note="" if holds else _APART, parts=told.parts or (told,))


def _explain_condition(condition: Condition, event: Event) -> Explanation:
    path = condition.path
    found = tuple(values_at(path, members_of(event, [path.partition(".")[0]])))
    holds = any(map(compile_test(condition.alternatives), found)) if found else condition.accepts_absence
    return Explanation("condition", holds, path, condition.wanted, found)


def _all_of(parts: list[Explanation]) -> Explanation:
    if len(parts) == 1:
        return parts[0]
    return Explanation("all", all(part.holds for part in parts), parts=tuple(parts))


def _any_of(parts: list[Explanation]) -> Explanation:
    if len(parts) == 1:
        return parts[0]
    return Explanation("any", any(part.holds for part in parts), parts=tuple(parts))
