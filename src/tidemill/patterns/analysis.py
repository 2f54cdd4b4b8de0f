"""What can be proven of rules without an event: that one never holds, that one implies another, what may match. Pure.

A rule is brought into cases: conjunctions of constraints on single values, of branches on data, and of what can not be
looked into. Every answer is a proof or says nothing: where cases are too many, or arrays or expressions decide, a rule
may hold and implies nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from tidemill.patterns.branches import Condition
from tidemill.patterns.cases import Case, Constraint, TooManyCases, cases_of
from tidemill.patterns.condition import ABSENT, PRESENT, Absent, Alternative, Equals, Prefix, quote
from tidemill.patterns.members import CONTEXT_ATTRIBUTES
from tidemill.patterns.overlap import are_disjoint, is_covered, is_empty
from tidemill.patterns.rule import Rule

__all__ = ["Analysis", "Facts"]

#: Attributes that every event has.
_REQUIRED = frozenset({"id", "source", "type", "specversion"})
_ONE_VERSION = Equals("1.0")
_EXTENSION = re.compile(r"[a-z0-9]+\Z")

#: What is known of events before there are any: by attribute, or path of a single value of the data.
Facts = Mapping[str, Sequence[Alternative]]


class Analysis:
    """The cases of one rule."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self._hash = hash(rule)
        #: None: too many.
        self._cases: list[Case] | None
        try:
            self._cases = cases_of(rule.expression)
        except TooManyCases:
            self._cases = None

    @property
    def contradiction(self) -> str | None:
        """Why no event can match, as a sentence; None where one may."""
        if self._cases is None:
            return None
        reasons = [_contradiction(case) for case in self._cases]
        if not reasons:
            return "it has no case in which it holds"
        if any(reason is None for reason in reasons):
            return None
        return "; ".join(dict.fromkeys(reason for reason in reasons if reason is not None))

    def may_match(self, facts: Facts) -> bool:
        """Whether an event of which `facts` are known may match."""
        if self._cases is None:
            return True
        return any(_contradiction(case) is None and _fits(case, facts) for case in self._cases)

    def must_match(self, facts: Facts) -> bool:
        """Whether every event of which `facts` are known matches, that is, whether that can be proven."""
        return any(_follows(case, facts) for case in self._cases or ())

    def asks_of(self, names: Iterable[str]) -> bool:
        """Whether a case asks of one of these attributes or paths of data, or of nothing at all."""
        wanted = frozenset(names)
        for case in self._cases or ():
            paths = {name for _, name in case.values} | {
                one.path for branch in case.branches for one in branch
            }
            if paths & wanted or not (paths or case.closed):
                return True
        return False

    def implies(self, other: Analysis) -> bool:
        """Whether every event that matches this rule matches `other`."""
        if self._hash == other._hash and self.rule == other.rule:
            return True
        if self._cases is None or other._cases is None:
            return False
        possible = [case for case in self._cases if _contradiction(case) is None]
        return bool(possible) and all(
            any(_implies(case, wider) for wider in other._cases) for case in possible
        )


def _contradiction(case: Case) -> str | None:
    for (_, name), constraints in case.values.items():
        if not (name in CONTEXT_ATTRIBUTES or name == "specversion" or _EXTENSION.match(name)):
            if not any(_accepts_absence(one) for one in constraints):
                return f"no event has an attribute {quote(name)}; what an event carries is under data"
            continue
        known = [*constraints, *_known(name)]
        if is_empty(known):
            wanted = " and ".join(dict.fromkeys(_words(one) for one in constraints))
            return f"{name} can not be {wanted}"
    return None


def _known(name: str) -> Iterator[Constraint]:
    """What holds of an attribute in every event."""
    if name == "specversion":
        yield (_ONE_VERSION,)
    elif name in _REQUIRED:
        yield (PRESENT,)
    if name in CONTEXT_ATTRIBUTES:
        yield (Prefix(""), ABSENT)


def _accepts_absence(constraint: Constraint) -> bool:
    return any(isinstance(one, Absent) for one in constraint)


def _words(constraint: Constraint) -> str:
    return " or ".join(map(str, constraint))


def _fits(case: Case, facts: Facts) -> bool:
    for (_, name), constraints in case.values.items():
        if name in facts and is_empty([*constraints, tuple(facts[name])]):
            return False
    for branch in case.branches:
        for one in branch:
            if one.path in facts and is_empty([one.alternatives, tuple(facts[one.path])]):
                return False
    return True


def _follows(case: Case, facts: Facts) -> bool:
    """Whether all of a case follows from the facts."""
    if case.closed or any(len(branch) > 1 for branch in case.branches):
        # Several conditions on data hold together where each is on a single value, which facts are.
        several = [one for branch in case.branches for one in branch]
        if case.closed or not all(one.path in facts for one in several):
            return False
    asked = [(name, one) for (_, name), constraints in case.values.items() for one in constraints]
    asked += [(one.path, one.alternatives) for branch in case.branches for one in branch]
    return all(_is_known(name, alternatives, facts) for name, alternatives in asked)


def _is_known(name: str, alternatives: Constraint, facts: Facts) -> bool:
    if name in facts:
        return is_covered(facts[name], alternatives)
    return name in _REQUIRED and is_covered((PRESENT,), alternatives)


def _implies(narrow: Case, wide: Case) -> bool:
    if not wide.closed <= narrow.closed:
        return False
    for (kind, name), constraints in wide.values.items():
        given = [*narrow.values.get((kind, name), ()), *_known(name)]
        for wanted in constraints:
            if not any(is_covered(_possible(one, given), wanted) for one in given):
                return False
    return all(any(_implies_branch(one, branch) for one in narrow.branches) for branch in wide.branches)


def _possible(constraint: Constraint, given: Sequence[Constraint]) -> Constraint:
    """The alternatives of a constraint that the others leave possible."""
    return tuple(
        one
        for one in constraint
        if not any(all(are_disjoint(one, other) for other in others) for others in given)
    )


def _implies_branch(narrow: Sequence[Condition], wide: Sequence[Condition]) -> bool:
    """The fields that were chosen for `narrow` can be chosen for `wide`."""
    given = {one.path: one.alternatives for one in narrow}
    if any(one.accepts_absence for one in (*narrow, *wide)) and given.keys() != {one.path for one in wide}:
        return False  # what is absent depends on the fields chosen before
    return all(one.path in given and is_covered(given[one.path], one.alternatives) for one in wide)
