"""Concurrency: at most so many runs that have not ended; what comes when all slots are taken waits or is dropped.

Which slots are taken is never counted or stored: it is the set of runs that have not ended, read at the start and
followed by the events that tell of their ends.
"""

from __future__ import annotations

from collections.abc import Sequence

from tidemill.project import admission
from tidemill.project.admission import Stage, WhenFull
from tidemill.routing.admission.items import PLACES, Item
from tidemill.routing.admission.queue import Queue
from tidemill.routing.admission.stages.contract import MAX_GROUP, NONE, Flow
from tidemill.storage.contract import DispositionKind

__all__ = ["Concurrency"]

_PLACE = PLACES[Stage.CONCURRENCY]


class _Slots:
    __slots__ = ("cancelled", "queue", "running")

    def __init__(self) -> None:
        #: Runs that have not ended, oldest first.
        self.running: dict[str, None] = {}
        #: Those that were asked to end.
        self.cancelled: set[str] = set()
        self.queue = Queue()


class Concurrency:
    """Holds what waits for a slot."""

    stage = Stage.CONCURRENCY

    def __init__(self, spec: admission.Concurrency, flow: Flow) -> None:
        self._spec = spec
        self._flow = flow
        self._slots: dict[str, _Slots] = {}

    def take(self, item: Item, at: int, now: int) -> Sequence[Item]:
        key = item.lead.keys[_PLACE]
        slots = self._slots.get(key)
        if slots is None:
            slots = self._slots[key] = _Slots()
        if len(slots.running) < self._spec.limit and not slots.queue:
            slots.running[item.lead.run] = None
            return (item,)
        if self._spec.when_full is WhenFull.DROP:
            self._flow.settle_all(item, DispositionKind.DROPPED_BY_LIMIT, "concurrency")
            return NONE
        if not self._flow.hold(item, self.stage, key, at):
            return NONE
        if self._spec.when_full is WhenFull.COALESCE and self._is_coalesced(slots, item):
            return NONE
        slots.queue.put(item)
        if self._spec.when_full is WhenFull.CANCEL_RUNNING:
            self._make_room(slots)
        return NONE

    def _is_coalesced(self, slots: _Slots, item: Item) -> bool:
        """Whether the item went into the group that waits already, which it does as long as there is room."""
        for waiting in slots.queue:
            if len(waiting.members) + len(item.members) <= MAX_GROUP:
                self._flow.touch(waiting.lead)
                waiting.absorb(item, DispositionKind.COALESCED_INTO)
                slots.queue.put(waiting)
                return True
        return False

    def _make_room(self, slots: _Slots) -> None:
        """The newest items are to run: older ones do not wait any longer, older runs are to end."""
        while len(slots.queue) > self._spec.limit:
            oldest = min(slots.queue, key=lambda item: item.lead.position)
            slots.queue.remove(oldest)
            self._flow.settle_all(oldest, DispositionKind.CANCELLED, "newer events took its place")
        wanted = len(slots.queue) - (self._spec.limit - len(slots.running)) - len(slots.cancelled)
        for run in [run for run in slots.running if run not in slots.cancelled][: max(wanted, 0)]:
            slots.cancelled.add(run)
            self._flow.cancel(run)

    def ended(self, run: str, key: str) -> Sequence[Item]:
        """The run has ended; what takes its slot goes on."""
        slots = self._slots.get(key)
        if slots is None:
            return NONE
        slots.running.pop(run, None)
        slots.cancelled.discard(run)
        return self._fill(key, slots)

    def _fill(self, key: str, slots: _Slots) -> Sequence[Item]:
        going = []
        while slots.queue and len(slots.running) < self._spec.limit:
            item = slots.queue.take()
            slots.running[item.lead.run] = None
            going.append(item)
        if not (slots.running or slots.queue):
            del self._slots[key]
        return going

    def ring(self, key: str, at: int, now: int) -> Sequence[Item]:
        """Planned for what was held at the start: slots may have become free since, or a run was to be cancelled."""
        slots = self._slots.get(key)
        if slots is None:
            return NONE
        going = self._fill(key, slots)
        if slots.queue and self._spec.when_full is WhenFull.CANCEL_RUNNING:
            self._make_room(slots)
        return going

    def discard(self, item: Item) -> None:
        slots = self._slots[item.key]
        if item.members and item.has_key_at(self.stage):
            slots.queue.put(item)  # another member may lead it now
            return
        slots.queue.remove(item)
        if not (slots.running or slots.queue):
            del self._slots[item.key]

    def restore(self, item: Item) -> None:
        self._slots.setdefault(item.key, _Slots()).queue.put(item)
        self._flow.plan(self.stage, item.key, item.since)

    def occupy(self, run: str, key: str) -> None:
        """The run had not ended when the last process ended; called in the order in which runs were made."""
        self._slots.setdefault(key, _Slots()).running[run] = None
