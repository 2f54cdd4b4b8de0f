"""Many rules against one event: only rules that have a chance are checked. Pure.

A rule is filed under its rarest anchor (see `anchors`); an event is looked up by its own values, so the cost
follows the event and the rules it nearly matches, not how many rules there are. What a lookup finds is a
candidate; the conditions that the lookup did not prove decide.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tidemill.events.event import Event
from tidemill.patterns.anchors import Anchor, Key, Kind, find_anchors
from tidemill.patterns.expression import (
    CONTEXT_ATTRIBUTES,
    Attribute,
    Check,
    Clause,
    Expression,
    all_of,
    compile_check,
    conjuncts,
)
from tidemill.patterns.fields import Node
from tidemill.patterns.probe import Probe
from tidemill.patterns.rule import Rule

__all__ = ["Index"]

#: Candidates up to this many are checked one by one rather than filed again.
_FEW = 4
#: How often candidates are filed again under a further anchor.
_MAX_LEVELS = 4
#: How likely an event that has the path is to have the key, against a single value.
_SHARE = {Kind.EQUALS: 1.0, Kind.PREFIX: 1.0, Kind.RANGE: 1.0, Kind.PRESENT: 3.0}
#: Added by what the lookup costs.
_COST = {Kind.EQUALS: 0, Kind.PREFIX: 2, Kind.RANGE: 4, Kind.PRESENT: 8}
_DATA_COST = 4


class Index:
    """Which of many rules match an event."""

    def __init__(self, rules: Mapping[str, Rule]) -> None:
        self._names = list(rules)
        entries = [_entry(place, rule.expression) for place, rule in enumerate(rules.values())]
        self._table = _Table(entries, level=0)

    def match(self, event: Event) -> list[str]:
        """Names of the rules that match, in the order in which they were given; it never raises."""
        found: list[int] = []
        self._table.collect(event, found)
        if len(found) > 1:
            found = sorted(set(found))
        return [self._names[place] for place in found]


@dataclass(frozen=True, slots=True, eq=False)
class _Condition:
    """One of the parts of a rule that must all hold."""

    check: Check
    anchors: tuple[Anchor, ...]
    #: Whether finding a key of its anchor says all that it asks.
    is_proven_by_lookup: bool


@dataclass(frozen=True, slots=True, eq=False)
class _Entry:
    """One rule on its way into a table."""

    place: int
    #: What is still to be checked.
    conditions: tuple[_Condition, ...]
    #: What it may still be filed under, and the condition each comes from.
    anchors: tuple[tuple[Anchor, _Condition], ...]

    def filed_under(self, anchor: Anchor) -> _Entry:
        """The same, for those events where a key of `anchor` was found."""
        proven = {id(one) for found, one in self.anchors if found == anchor and one.is_proven_by_lookup}
        return _Entry(
            self.place,
            tuple(one for one in self.conditions if id(one) not in proven),
            tuple(pair for pair in self.anchors if pair[0] != anchor),
        )


class _Table:
    """Rules filed under keys, and those that are checked for every event that comes here."""

    __slots__ = ("_checks", "_matched", "_probe")

    def __init__(self, entries: Sequence[_Entry], *, level: int) -> None:
        unfiled, filed = _file(entries) if level < _MAX_LEVELS else (entries, {})
        self._matched = [entry.place for entry in unfiled if not entry.conditions]
        self._checks = [
            (entry.place, all_of([one.check for one in entry.conditions]))
            for entry in unfiled
            if entry.conditions
        ]
        tables = {key: _table_of(some, level + 1) for key, some in filed.items()}
        self._probe = Probe(tables) if tables else None

    def collect(self, event: Event, found: list[int]) -> None:
        """Add the places of the rules here that match; a place may be added twice."""
        found.extend(self._matched)
        for place, check in self._checks:
            if check(event):
                found.append(place)
        if self._probe is not None:
            for table in self._probe.find(event):
                table.collect(event, found)


def _table_of(entries: Sequence[_Entry], level: int) -> _Table:
    return _Table(entries, level=level if len(entries) > _FEW else _MAX_LEVELS)


def _entry(place: int, expression: Expression) -> _Entry:
    conditions = tuple(_condition(part) for part in conjuncts(expression))
    return _Entry(place, conditions, tuple((anchor, one) for one in conditions for anchor in one.anchors))


def _condition(part: Expression) -> _Condition:
    anchors = tuple(find_anchors(part))
    proven = _is_one_attribute(part) and all(
        key.kind in (Kind.EQUALS, Kind.PREFIX) for anchor in anchors for key in anchor
    )
    return _Condition(compile_check(part), anchors, proven)


def _is_one_attribute(part: Expression) -> bool:
    """Whether `part` asks one thing of one attribute that is always text (extensions have types)."""
    match part:
        case Attribute(name):
            return name in CONTEXT_ATTRIBUTES
        case Clause(Node(fields=fields, groups=())) if len(fields) == 1:
            ((name, node),) = fields.items()
            return name in CONTEXT_ATTRIBUTES and len(node.leaves) == 1 and not (node.fields or node.groups)
        case _:
            return False


def _file(entries: Sequence[_Entry]) -> tuple[list[_Entry], dict[Key, list[_Entry]]]:
    """Entries without an anchor, and the others by every key of the rarest of theirs."""
    counts = Counter(_counted_as(key) for entry in entries for anchor, _ in entry.anchors for key in anchor)
    unfiled: list[_Entry] = []
    filed: dict[Key, list[_Entry]] = {}
    for entry in entries:
        if not entry.anchors:
            unfiled.append(entry)
            continue
        anchor, _ = min(entry.anchors, key=lambda pair: sum(_price(key, counts) for key in pair[0]))
        below = entry.filed_under(anchor)
        for key in anchor:
            filed.setdefault(key, []).append(below)
    return unfiled, filed


def _counted_as(key: Key) -> Key:
    """Ranges of one path overlap, so they count as one key."""
    return key._replace(value=None) if key.kind is Kind.RANGE else key


def _price(key: Key, counts: Mapping[Key, int]) -> float:
    data = _DATA_COST if key.path[0] == "data" else 0
    return counts[_counted_as(key)] * _SHARE[key.kind] + _COST[key.kind] + data
