"""Many rules against one event: only rules that have a chance are checked. Pure.

1. A rule is taken apart into branches, each of them conditions that must all hold. A branch is filed under its rarest
   anchor (see `anchors`); an event is looked up by its own values, so the cost follows the event and the rules it
   nearly matches, not how many rules there are.
2. What a lookup finds is a candidate: the conditions that the lookup did not prove are checked, fields in one fixed
   order, the cheapest first. Where many are filed under one key, they are filed again under a further anchor.
3. A candidate whose fields lie in arrays of objects is decided by the rule itself.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from tidemill.events.event import Event
from tidemill.patterns.anchors import Anchor, Key, Kind, alternatives_anchors, find_anchors, is_proof
from tidemill.patterns.branches import Condition
from tidemill.patterns.condition import compile_test
from tidemill.patterns.expression import Attribute, Clause, Computed, Expression, compile_check, conjuncts
from tidemill.patterns.members import CONTEXT_ATTRIBUTES
from tidemill.patterns.paths import compile_event_answer
from tidemill.patterns.probe import Probe
from tidemill.patterns.rule import Rule

__all__ = ["Index"]

#: Candidates up to this many are checked one by one rather than filed again.
_FEW = 8
#: How often candidates are filed again under a further anchor.
_MAX_LEVELS = 4
#: How likely an event that has the path is to have the key, against a single value.
_SHARE = {Kind.PRESENT: 3.0}
#: Added by what the lookup costs.
_COST = {
    Kind.EQUALS: 0.0,
    Kind.LIKE: 2.0,
    Kind.BLOCK: 2.0,
    Kind.PREFIX: 2.0,
    Kind.SUFFIX: 2.0,
    Kind.LIKE_PREFIX: 3.0,
    Kind.LIKE_SUFFIX: 3.0,
    Kind.CONTAINS: 4.0,
    Kind.RANGE: 4.0,
    Kind.PRESENT: 8.0,
}
_DATA_COST = 4.0

#: True, False, or None: ask the rule itself.
_Check = Callable[[Event], bool | None]
#: A candidate: the rule's number, and what is still to be checked.
_Candidate = tuple[int, tuple[_Check, ...]]


class Index:
    """Which of many rules match an event."""

    def __init__(self, rules: Mapping[str, Rule]) -> None:
        self._names = list(rules)
        self._rules = list(rules.values())
        with _collecting_later():
            builder = _Builder()
            entries = [
                entry
                for number, rule in enumerate(self._rules)
                for entry in builder.entries(number, rule.expression)
            ]
            self._table = _Table(entries, self._rules, level=0)

    @property
    def residual(self) -> int:
        """How many branches of rules have no anchor: they are checked for every event."""
        return self._table.residual

    def match(self, event: Event) -> list[str]:
        """Names of the rules that match, in the order in which they were given; it never raises."""
        found: list[int] = []
        self._table.collect(event, found)
        if not found:
            return []
        names = self._names
        if len(found) == 1:
            return [names[found[0]]]
        return [names[number] for number in sorted(set(found))]


@contextmanager
def _collecting_later() -> Iterator[None]:
    """Without the cyclic collector: millions of objects are made and none is garbage, so looking costs most."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


class _Part:
    """One of the things that a branch asks; compiled when it is known that a lookup does not prove it."""

    __slots__ = ("_check", "_compile", "anchors", "cost", "is_proven_by_lookup")

    def __init__(
        self,
        compiled: Callable[[], _Check],
        anchors: Iterable[Anchor],
        *,
        cost: tuple[int, str],
        is_proven_by_lookup: bool = False,
    ) -> None:
        self._compile = compiled
        self._check: _Check | None = None
        self.anchors = tuple(anchors)
        #: Attributes are cheaper to look at than data, and both than expressions.
        self.cost = cost
        #: Whether finding a key of an anchor says all that it asks.
        self.is_proven_by_lookup = is_proven_by_lookup

    @property
    def check(self) -> _Check:
        if self._check is None:
            self._check = self._compile()
        return self._check


@dataclass(frozen=True, slots=True, eq=False)
class _Entry:
    """One branch of a rule on its way into a table."""

    number: int
    #: What is still to be checked.
    parts: tuple[_Part, ...]
    #: What it is filed under already.
    used: tuple[Anchor, ...] = ()

    def anchors(self) -> Iterator[tuple[Anchor, _Part]]:
        """What it may still be filed under."""
        used = self.used
        return ((anchor, part) for part in self.parts for anchor in part.anchors if anchor not in used)

    def filed_under(self, anchor: Anchor, part: _Part) -> _Entry:
        """The same, for those events where a key of `anchor`, which is one of `part`, was found."""
        parts = self.parts
        if part.is_proven_by_lookup:
            parts = tuple(one for one in parts if one is not part)
        return _Entry(self.number, parts, (*self.used, anchor))

    def candidate(self) -> _Candidate:
        return self.number, tuple(part.check for part in self.parts)


class _Builder:
    """Takes rules apart; what many rules ask alike is compiled once."""

    def __init__(self) -> None:
        self._known: dict[Condition | Attribute, _Part] = {}

    def entries(self, number: int, expression: Expression) -> Iterator[_Entry]:
        """One entry for each branch of a rule."""
        common: list[_Part] = []
        choice: Clause | None = None
        for part in conjuncts(expression):
            if isinstance(part, Clause) and choice is None:
                choice = part
            else:
                common.append(self._part(part))
        branches = [branch.conditions for branch in choice.branches] if choice is not None else [()]
        for conditions in branches:
            parts = sorted([*common, *map(self._condition, conditions)], key=lambda part: part.cost)
            yield _Entry(number, tuple(parts))

    def _part(self, part: Expression) -> _Part:
        if isinstance(part, Attribute):
            return self._attribute(part)
        cost = (3 if isinstance(part, Computed) else 2, "")
        return _Part(partial(compile_check, part), find_anchors(part), cost=cost)

    def _attribute(self, attribute: Attribute) -> _Part:
        part = self._known.get(attribute)
        if part is None:
            part = self._known[attribute] = _Part(
                partial(compile_check, attribute),
                find_anchors(attribute),
                cost=(0, attribute.name),
                is_proven_by_lookup=is_proof((attribute.wanted,)),
            )
        return part

    def _condition(self, condition: Condition) -> _Part:
        part = self._known.get(condition)
        if part is None:
            path, alternatives = condition
            in_data = path == "data" or path.startswith("data.")
            # an extension is also looked up by its text form, which a pattern does not compare
            part = self._known[condition] = _Part(
                partial(_compile_condition, condition),
                alternatives_anchors(path, alternatives),
                cost=(1 if in_data else 0, path),
                is_proven_by_lookup=(in_data or path in CONTEXT_ATTRIBUTES) and is_proof(alternatives),
            )
        return part


def _compile_condition(condition: Condition) -> _Check:
    path, alternatives = condition
    return compile_event_answer(path, compile_test(alternatives), condition.accepts_absence)


class _Table:
    """Branches filed under keys, and those that are checked for every event that comes here."""

    __slots__ = ("_always", "_probe", "_rules")

    def __init__(self, entries: Sequence[_Entry], rules: Sequence[Rule], *, level: int) -> None:
        unfiled, filed = _file(entries) if level < _MAX_LEVELS else (entries, {})
        self._rules = rules
        self._always = [entry.candidate() for entry in unfiled]
        groups = {key: _group(some, rules, level + 1) for key, some in filed.items()}
        self._probe = Probe(groups) if groups else None

    @property
    def residual(self) -> int:
        return len(self._always)

    def collect(self, event: Event, found: list[int]) -> None:
        """Add the numbers of the rules here that match; a number may be added twice."""
        if self._always:
            self._check(self._always, event, found)
        if self._probe is None:
            return
        groups: list[_Group] = []
        apart = self._probe.find(event, groups)
        for group in groups:
            if apart:
                self._decide(group, event, found)
            elif type(group) is list:
                self._check(group, event, found)
            else:
                group.collect(event, found)  # type: ignore[union-attr]

    def _check(self, candidates: list[_Candidate], event: Event, found: list[int]) -> None:
        for number, checks in candidates:
            for check in checks:
                answer = check(event)
                if not answer:
                    if answer is None and self._rules[number].matches(event):
                        found.append(number)
                    break
            else:
                found.append(number)

    def _decide(self, group: _Group, event: Event, found: list[int]) -> None:
        """What was found proves nothing in arrays: the rules themselves decide."""
        if isinstance(group, _Table):
            group.decide_all(event, found)
        else:
            found.extend(number for number, _ in group if self._rules[number].matches(event))

    def decide_all(self, event: Event, found: list[int]) -> None:
        """As `collect`, asking the rules themselves."""
        groups: list[_Group] = [self._always]
        if self._probe is not None:
            self._probe.find(event, groups)
        for group in groups:
            self._decide(group, event, found)


_Group = list[_Candidate] | _Table


def _group(entries: list[_Entry], rules: Sequence[Rule], level: int) -> _Group:
    if (
        len(entries) <= _FEW
        or level >= _MAX_LEVELS
        or not any(True for entry in entries for _ in entry.anchors())
    ):
        return [entry.candidate() for entry in entries]
    return _Table(entries, rules, level=level)


def _file(entries: Sequence[_Entry]) -> tuple[list[_Entry], dict[Key, list[_Entry]]]:
    """Entries without an anchor, and the others by every key of the rarest of theirs."""
    counts = Counter(_counted_as(key) for entry in entries for anchor, _ in entry.anchors() for key in anchor)
    unfiled: list[_Entry] = []
    filed: dict[Key, list[_Entry]] = {}
    for entry in entries:
        rarest = min(
            entry.anchors(), key=lambda pair: sum(_price(key, counts) for key in pair[0]), default=None
        )
        if rarest is None:
            unfiled.append(entry)
            continue
        anchor, part = rarest
        below = entry.filed_under(anchor, part)
        for key in anchor:
            filed.setdefault(key, []).append(below)
    return unfiled, filed


def _counted_as(key: Key) -> Key:
    """Ranges of one path overlap, so they count as one key."""
    return Key(Kind.RANGE, key.path, None) if key.kind is Kind.RANGE else key


def _price(key: Key, counts: Mapping[Key, int]) -> float:
    data = _DATA_COST if key.path.startswith("data") else 0
    return counts[_counted_as(key)] * _SHARE.get(key.kind, 1.0) + _COST[key.kind] + data
