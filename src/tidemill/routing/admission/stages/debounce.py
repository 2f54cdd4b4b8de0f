"""Debounce: one run once events have ceased for a while, with all of them."""

from __future__ import annotations

from collections.abc import Sequence

from tidemill.project import admission
from tidemill.project.admission import Stage
from tidemill.routing.admission.items import PLACES, Item, merged
from tidemill.routing.admission.stages.contract import MAX_GROUP, NONE, Flow
from tidemill.storage.contract import DispositionKind

__all__ = ["Debounce"]

_PLACE = PLACES[Stage.DEBOUNCE]


class Debounce:
    """Holds the events of each key until they have ceased."""

    stage = Stage.DEBOUNCE

    def __init__(self, spec: admission.Debounce, flow: Flow) -> None:
        self._spec = spec
        self._flow = flow
        self._held: dict[str, list[Item]] = {}

    def take(self, item: Item, at: int, now: int) -> Sequence[Item]:
        key = item.lead.keys[_PLACE]
        if not self._flow.hold(item, self.stage, key, at):
            return NONE
        self.restore(item)
        items = self._held[key]
        return (self._close(key, at),) if len(items) >= MAX_GROUP else NONE

    def ring(self, key: str, at: int, now: int) -> Sequence[Item]:
        items = self._held.get(key)
        if not items:
            return NONE
        due = self._due(items)
        if due > at:
            self._flow.plan(self.stage, key, due)
            return NONE
        return (self._close(key, at),)

    def discard(self, item: Item) -> None:
        if item.members:
            return
        items = self._held[item.key]
        items.remove(item)
        if items:
            self._flow.plan(self.stage, item.key, self._due(items))
        else:
            del self._held[item.key]

    def restore(self, item: Item) -> None:
        items = self._held.setdefault(item.key, [])
        items.append(item)
        self._flow.plan(self.stage, item.key, self._due(items))

    def _due(self, items: list[Item]) -> int:
        spec = self._spec
        due = items[-1].since + spec.period
        return due if spec.max_wait is None else min(due, items[0].since + spec.max_wait)

    def _close(self, key: str, at: int) -> Item:
        return merged(self._held.pop(key), DispositionKind.DEBOUNCED_INTO, at)
