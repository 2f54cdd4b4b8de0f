"""Join: events of several kinds start one run together: all of them, some, in a sequence, or one without another.

An event waits `window` for the others, counted from itself, so that what is joined lies within one window.
"""

from __future__ import annotations

from collections.abc import Sequence

from tidemill.project import admission
from tidemill.project.admission import JoinMode, Stage
from tidemill.routing.admission.items import PLACES, Item, merged
from tidemill.routing.admission.stages.contract import NONE, Flow
from tidemill.storage.contract import DispositionKind

__all__ = ["Join"]

_PLACE = PLACES[Stage.JOIN]


class Join:
    """Holds the events of each key until the join is complete or they have waited long enough."""

    stage = Stage.JOIN

    def __init__(self, spec: admission.Join, flow: Flow) -> None:
        self._spec = spec
        self._flow = flow
        self._held: dict[str, list[Item]] = {}

    def take(self, item: Item, at: int, now: int) -> Sequence[Item]:
        flow, lead = self._flow, item.lead
        key = lead.keys[_PLACE]
        started = flow.memory.get(flow.name, self.stage, key) if self._spec.lateness else None
        if started is not None and at < started[1]:
            flow.settle(lead, DispositionKind.JOINED_INTO, "after the start", started[0])
            return NONE
        if lead.part < 0 or self._is_out_of_order(key, lead.part):
            flow.settle(lead, DispositionKind.NOT_JOINED, "no part of the join waits for it")
            return NONE
        if self._spec.mode is JoinMode.ABSENCE:
            return self._take_of_absence(item, key, at)
        if not flow.hold(item, self.stage, key, at):
            return NONE
        self.restore(item)
        return (self._complete(key, at),) if self._is_complete(self._held[key]) else NONE

    def _is_out_of_order(self, key: str, part: int) -> bool:
        return self._spec.mode is JoinMode.SEQUENCE and part > _progress(self._held.get(key, ()))

    def _is_complete(self, items: list[Item]) -> bool:
        if self._spec.mode is JoinMode.SEQUENCE:
            return _progress(items) == len(self._spec.parts)
        return len({item.lead.part for item in items}) >= self._spec.at_least

    def _complete(self, key: str, at: int) -> Item:
        flow, lateness = self._flow, self._spec.lateness
        group = merged(self._held.pop(key), DispositionKind.JOINED_INTO, at)
        if lateness:
            until = at + lateness
            flow.memory.put(flow.name, self.stage, key, [group.lead.run, until], until=until)
        return group

    # ── one without another ──

    def _take_of_absence(self, item: Item, key: str, at: int) -> Sequence[Item]:
        """The first part starts when none of the others comes; `lookback` ago counts as come."""
        flow, held, position = self._flow, self._held.get(key, []), item.lead.position
        if item.lead.part == 0:
            came = next((one for one in held if one.lead.part > 0), None)
            if came is not None:
                detail = f"position {came.lead.position} had come"
                flow.settle(item.lead, DispositionKind.CANCELLED, detail)
                return NONE
        else:
            for waiting in [one for one in held if one.lead.part == 0]:
                flow.settle(waiting.lead, DispositionKind.CANCELLED, f"position {position} came in time")
                held.remove(waiting)
            if not held:
                self._held.pop(key, None)
            if not self._spec.lookback:
                flow.settle(item.lead, DispositionKind.NOT_JOINED, "it starts nothing by itself")
                return NONE
        if flow.hold(item, self.stage, key, at):
            self.restore(item)
        return NONE

    # ── time ──

    def ring(self, key: str, at: int, now: int) -> Sequence[Item]:
        items = self._held.get(key)
        if not items:
            return NONE
        over = [item for item in items if self._ends(item) <= at]
        if over and self._spec.expiry == "start" and self._spec.mode is not JoinMode.ABSENCE:
            return (self._complete(key, at),)
        left = [item for item in items if self._ends(item) > at]
        if left:
            self._held[key] = left
            self._flow.plan(self.stage, key, min(map(self._ends, left)))
        else:
            del self._held[key]
        going = []
        for item in over:
            if self._spec.mode is JoinMode.ABSENCE and item.lead.part == 0:
                item.since = at
                going.append(item)
            else:
                self._flow.settle_all(item, DispositionKind.EXPIRED, "the others did not come in time")
        return going

    def _ends(self, item: Item) -> int:
        waits_to_start = self._spec.mode is not JoinMode.ABSENCE or item.lead.part == 0
        return item.since + (self._spec.window if waits_to_start else self._spec.lookback)

    def discard(self, item: Item) -> None:
        if item.members:
            return
        items = self._held[item.key]
        items.remove(item)
        if not items:
            del self._held[item.key]

    def restore(self, item: Item) -> None:
        self._held.setdefault(item.key, []).append(item)
        self._flow.plan(self.stage, item.key, self._ends(item))


def _progress(items: Sequence[Item]) -> int:
    """How many parts of a sequence are there, in order."""
    reached = 0
    for item in items:
        if item.lead.part == reached:
            reached += 1
    return reached
