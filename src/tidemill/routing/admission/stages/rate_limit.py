"""Rate limit: at most so many events in any period; the rest is dropped, and recorded as dropped."""

from __future__ import annotations

from collections.abc import Sequence

from tidemill.project import admission
from tidemill.project.admission import Stage
from tidemill.routing.admission.items import PLACES, Item
from tidemill.routing.admission.stages.contract import NONE, Flow
from tidemill.routing.admission.windows import room
from tidemill.storage.contract import DispositionKind

__all__ = ["RateLimit"]

_PLACE = PLACES[Stage.RATE_LIMIT]


class RateLimit:
    """Holds nothing; remembers when it let events go on."""

    stage = Stage.RATE_LIMIT

    def __init__(self, spec: admission.RateLimit, flow: Flow) -> None:
        self._spec = spec
        self._flow = flow

    def take(self, item: Item, at: int, now: int) -> Sequence[Item]:
        spec, flow = self._spec, self._flow
        key = item.lead.keys[_PLACE]
        times: list[int] = flow.memory.get(flow.name, self.stage, key) or []
        if not room(times, spec.limit, spec.period, at):
            flow.settle_all(item, DispositionKind.DROPPED_BY_LIMIT, "rate_limit")
            return NONE
        times.append(at)
        flow.memory.put(flow.name, self.stage, key, times, until=at + spec.period)
        return (item,)

    def ring(self, key: str, at: int, now: int) -> Sequence[Item]:
        return NONE

    def discard(self, item: Item) -> None:
        raise AssertionError("a rate limit holds nothing")

    def restore(self, item: Item) -> None:
        raise AssertionError("a rate limit holds nothing")
