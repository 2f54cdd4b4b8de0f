"""When something is due, over all triggers: the router wakes for the first of them. Pure."""

from __future__ import annotations

import heapq

__all__ = ["Alarms"]


class Alarms:
    """Times with the names of triggers; an alarm for what has moved meanwhile rings in vain."""

    def __init__(self) -> None:
        self._timers: list[tuple[int, str]] = []
        self._paced: list[tuple[int, str]] = []

    def set(self, due: int, trigger: str, *, paced: bool) -> None:
        """Something of the trigger is due; what paces starts rings by the time of deciding."""
        heapq.heappush(self._paced if paced else self._timers, (due, trigger))

    @property
    def next_due(self) -> int | None:
        """The earliest alarm."""
        firsts = [heap[0][0] for heap in (self._timers, self._paced) if heap]
        return min(firsts) if firsts else None

    def take(self, horizon: int, now: int) -> list[str]:
        """Triggers with something due by `horizon`, or by `now` where it paces starts; earliest first."""
        found: dict[str, None] = {}
        for heap, until in ((self._timers, horizon), (self._paced, now)):
            while heap and heap[0][0] <= until:
                found[heapq.heappop(heap)[1]] = None
        return list(found)
