"""Idempotency: an event with a key that was seen before is a duplicate, whatever became of the first one."""

from __future__ import annotations

from collections.abc import Sequence

from tidemill.project import admission
from tidemill.project.admission import Stage
from tidemill.routing.admission.items import PLACES, Item, Member
from tidemill.routing.admission.stages.contract import NONE, Flow
from tidemill.storage.contract import DispositionKind

__all__ = ["Idempotency"]

_PLACE = PLACES[Stage.IDEMPOTENCY]


class Idempotency:
    """Holds nothing."""

    stage = Stage.IDEMPOTENCY

    def __init__(self, spec: admission.Idempotency, flow: Flow) -> None:
        self._spec = spec
        self._flow = flow
        #: Key → position of the event that is held or whose run has not ended.
        self._open: dict[str, int] = {}

    def take(self, item: Item, at: int, now: int) -> Sequence[Item]:
        member, spec, flow = item.lead, self._spec, self._flow
        key = member.keys[_PLACE]
        first = self._open.get(key)
        if first is None and spec.ttl is not None:
            record = flow.memory.get(flow.name, self.stage, key)
            if record is not None and record[1] > at:
                first = record[0]
        if first is not None:
            flow.settle(member, DispositionKind.DUPLICATE_OF, f"position {first}")
            return NONE
        if spec.ttl is not None:
            until = at + spec.ttl
            flow.memory.put(flow.name, self.stage, key, [member.position, until], until=until)
        self.open(member)
        return (item,)

    def open(self, member: Member) -> None:
        """The event is under way."""
        if self._spec.while_running:
            self._open[member.keys[_PLACE]] = member.position

    def close(self, key: str, position: int) -> None:
        """The event has its disposition and no run that goes on."""
        if self._open.get(key) == position:
            del self._open[key]

    def reopen(self, key: str, position: int) -> None:
        """A run of the event was under way when the last process ended."""
        self._open[key] = position

    def ring(self, key: str, at: int, now: int) -> Sequence[Item]:
        return NONE

    def discard(self, item: Item) -> None:
        raise AssertionError("idempotency holds nothing")

    def restore(self, item: Item) -> None:
        raise AssertionError("idempotency holds nothing")
