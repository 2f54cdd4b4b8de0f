"""Batch: one run for many events, when there are enough of them or the first has waited long enough."""

from __future__ import annotations

from collections.abc import Sequence

from tidemill.project import admission
from tidemill.project.admission import Stage
from tidemill.routing.admission.items import PLACES, Item, merged
from tidemill.routing.admission.stages.contract import NONE, Flow
from tidemill.storage.contract import DispositionKind

__all__ = ["Batch"]

_PLACE = PLACES[Stage.BATCH]


class _Filling:
    __slots__ = ("bytes", "count", "items")

    def __init__(self) -> None:
        self.items: list[Item] = []
        self.count = 0
        self.bytes = 0

    def add(self, item: Item) -> None:
        self.items.append(item)
        self.count += len(item.members)
        self.bytes += _bytes(item)


class Batch:
    """Holds the events of each key until there are enough."""

    stage = Stage.BATCH

    def __init__(self, spec: admission.Batch, flow: Flow) -> None:
        self._spec = spec
        self._flow = flow
        self._held: dict[str, _Filling] = {}

    def take(self, item: Item, at: int, now: int) -> Sequence[Item]:
        spec = self._spec
        key = item.lead.keys[_PLACE]
        full: list[Item] = []
        before = self._held.get(key)
        if before is not None and spec.bytes is not None and before.bytes + _bytes(item) > spec.bytes:
            full.append(self._close(key, at))
        if not self._flow.hold(item, self.stage, key, at):
            return full
        self.restore(item)
        filling = self._held[key]
        if filling.count >= spec.size or (spec.bytes is not None and filling.bytes >= spec.bytes):
            full.append(self._close(key, at))
        return full

    def ring(self, key: str, at: int, now: int) -> Sequence[Item]:
        filling = self._held.get(key)
        if filling is None:
            return NONE
        due = filling.items[0].since + self._spec.period
        if due > at:
            self._flow.plan(self.stage, key, due)
            return NONE
        return (self._close(key, at),)

    def discard(self, item: Item) -> None:
        filling = self._held[item.key]
        if not item.members:
            filling.items.remove(item)
        filling.count = sum(len(one.members) for one in filling.items)
        filling.bytes = sum(_bytes(one) for one in filling.items)
        if not filling.items:
            del self._held[item.key]

    def restore(self, item: Item) -> None:
        filling = self._held.setdefault(item.key, _Filling())
        filling.add(item)
        self._flow.plan(self.stage, item.key, filling.items[0].since + self._spec.period)

    def _close(self, key: str, at: int) -> Item:
        return merged(self._held.pop(key).items, DispositionKind.BATCHED_INTO, at)


def _bytes(item: Item) -> int:
    return sum(member.size for member in item.members)
