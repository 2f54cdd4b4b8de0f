"""Many rules against one event: only rules that have a chance are checked. Pure.

A rule is filed under its rarest anchor (see `anchors`); an event is looked up by its own values, so the cost
follows the event and the rules it nearly matches, not how many rules there are. What a lookup finds is a
candidate; the rule's own check decides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tidemill.events.event import Event
from tidemill.patterns.anchors import Anchor, Key, Kind, find_anchors
from tidemill.patterns.expression import Check
from tidemill.patterns.probe import Probe
from tidemill.patterns.rule import Rule

__all__ = ["Index"]

#: Candidates up to this many are checked one by one rather than filed again.
_FEW = 8
#: How often candidates are filed again under a further anchor.
_MAX_LEVELS = 4
#: Added to the rarity of an anchor by what its keys ask: walking data and looking up prefixes cost more.
_COST = {Kind.EQUALS: 0, Kind.PREFIX: 2, Kind.PRESENT: 8}
_DATA_COST = 4


@dataclass(frozen=True, slots=True, eq=False)
class _Entry:
    """One rule on its way into a table."""

    place: int
    check: Check
    anchors: tuple[Anchor, ...]

    def without(self, anchor: Anchor) -> _Entry:
        """The same, after it was filed under `anchor`."""
        return _Entry(self.place, self.check, tuple(one for one in self.anchors if one != anchor))


class Index:
    """Which of many rules match an event."""

    def __init__(self, rules: Mapping[str, Rule]) -> None:
        self._names = list(rules)
        self._table = _Table(
            [
                _Entry(place, rule.matches, tuple(set(find_anchors(rule.expression))))
                for place, rule in enumerate(rules.values())
            ]
        )

    def match(self, event: Event) -> list[str]:
        """Names of the rules that match, in the order in which they were given; it never raises."""
        found: list[int] = []
        self._table.collect(event, found)
        if len(found) > 1:
            found = sorted(set(found))
        return [self._names[place] for place in found]


class _Table:
    """Rules filed under keys, and those that are checked for every event that comes here."""

    __slots__ = ("_checks", "_probe")

    def __init__(self, entries: Sequence[_Entry], *, level: int = 0) -> None:
        unfiled, filed = _file(entries) if level < _MAX_LEVELS else (entries, {})
        if level and all(len(some) == len(entries) for some in filed.values()):
            unfiled, filed = entries, {}  # no key tells these apart
        self._checks = [(entry.place, entry.check) for entry in unfiled]
        tables = {key: _table_of(some, level + 1) for key, some in filed.items()}
        self._probe = Probe(tables) if tables else None

    def collect(self, event: Event, found: list[int]) -> None:
        """Add the places of the rules here that match; a place may be added twice."""
        for place, check in self._checks:
            if check(event):
                found.append(place)
        if self._probe is not None:
            for table in self._probe.find(event):
                table.collect(event, found)


def _table_of(entries: Sequence[_Entry], level: int) -> _Table:
    return _Table(entries, level=level if len(entries) > _FEW else _MAX_LEVELS)


def _file(entries: Sequence[_Entry]) -> tuple[list[_Entry], dict[Key, list[_Entry]]]:
    """Entries without an anchor, and the others by every key of the rarest of theirs."""
    counts = Counter(key for entry in entries for anchor in entry.anchors for key in anchor)
    unfiled: list[_Entry] = []
    filed: dict[Key, list[_Entry]] = {}
    for entry in entries:
        if not entry.anchors:
            unfiled.append(entry)
            continue
        anchor = min(entry.anchors, key=lambda anchor: sum(_price(key, counts) for key in anchor))
        for key in anchor:
            filed.setdefault(key, []).append(entry.without(anchor))
    return unfiled, filed


def _price(key: Key, counts: Mapping[Key, int]) -> int:
    return counts[key] + _COST[key.kind] + (_DATA_COST if key.path[0] == "data" else 0)
