"""Items that wait for their turn: the highest priority first, then the oldest. Pure.

An item's turn is that of the lead that it has now: whoever changes an item that waits puts it again.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from tidemill.routing.admission.items import Item

__all__ = ["Queue"]

#: Entries that have no meaning any more, beyond as many as have one, before they are thrown out.
_SLACK = 16


class Queue:
    """Items by priority and place in the log; entries that are not the latest of a waiting item are passed over."""

    __slots__ = ("_heap", "_waiting")

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Item]] = []
        #: The latest entry of each item that waits.
        self._waiting: dict[Item, tuple[int, int, Item]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Item]:
        """In the order in which they came."""
        return iter(self._waiting)

    def put(self, item: Item) -> None:
        """The item waits; one that waits already takes the place that its present lead gives it."""
        entry = (-item.priority, item.lead.position, item)
        if self._waiting.get(item) == entry:
            return
        self._waiting[item] = entry
        heapq.heappush(self._heap, entry)
        self._tidy()

    def take(self) -> Item:
        """The item whose turn it is; there is one while the queue is not empty."""
        while True:
            entry = heapq.heappop(self._heap)
            item = entry[2]
            if self._waiting.get(item) is entry:
                del self._waiting[item]
                return item

    def remove(self, item: Item) -> None:
        """The item does not wait any more."""
        del self._waiting[item]
        self._tidy()

    def _tidy(self) -> None:
        if len(self._heap) > 2 * len(self._waiting) + _SLACK:
            self._heap = list(self._waiting.values())
            heapq.heapify(self._heap)
