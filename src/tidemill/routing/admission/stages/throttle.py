"""Throttle: at most so many starts in any period; the rest waits for its turn."""

from __future__ import annotations

from collections.abc import Sequence

from tidemill.project import admission
from tidemill.project.admission import Stage
from tidemill.routing.admission.items import PLACES, Item
from tidemill.routing.admission.queue import Queue
from tidemill.routing.admission.stages.contract import NONE, Flow
from tidemill.routing.admission.windows import room

__all__ = ["Throttle"]

_PLACE = PLACES[Stage.THROTTLE]


class Throttle:
    """Holds what must wait; remembers when it let items go on. Goes by the time at which it decides."""

    stage = Stage.THROTTLE

    def __init__(self, spec: admission.Throttle, flow: Flow) -> None:
        self._spec = spec
        self._flow = flow
        self._queues: dict[str, Queue] = {}

    def take(self, item: Item, at: int, now: int) -> Sequence[Item]:
        key = item.lead.keys[_PLACE]
        times = self._times(key)
        if key not in self._queues and room(times, self._spec.limit, self._spec.period, now):
            self._pass(key, times, now)
            return (item,)
        if not self._flow.hold(item, self.stage, key, at):
            return NONE
        self._queues.setdefault(key, Queue()).put(item)
        self._plan(key, times, now)
        return NONE

    def ring(self, key: str, at: int, now: int) -> Sequence[Item]:
        queue = self._queues.get(key)
        if queue is None:
            return NONE
        spec, times, going = self._spec, self._times(key), []
        while queue and room(times, spec.limit, spec.period, now):
            self._pass(key, times, now)
            going.append(queue.take())
        if queue:
            self._plan(key, times, now)
        else:
            del self._queues[key]
        return going

    def _times(self, key: str) -> list[int]:
        return self._flow.memory.get(self._flow.name, self.stage, key) or []

    def _pass(self, key: str, times: list[int], now: int) -> None:
        times.append(now)
        self._flow.memory.put(self._flow.name, self.stage, key, times, until=now + self._spec.period)

    def _plan(self, key: str, times: list[int], now: int) -> None:
        full = not room(times, self._spec.limit, self._spec.period, now)
        due = times[-self._spec.limit] + self._spec.period if full else now
        self._flow.plan(self.stage, key, due)

    def discard(self, item: Item) -> None:
        queue = self._queues[item.key]
        if item.members and item.has_key_at(self.stage):
            queue.put(item)  # another member may lead it now
            return
        queue.remove(item)
        if not queue:
            del self._queues[item.key]

    def restore(self, item: Item) -> None:
        self._queues.setdefault(item.key, Queue()).put(item)
        self._flow.plan(self.stage, item.key, item.since)
