"""Items that wait for their turn: the highest priority first, then the oldest. Pure."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from tidemill.routing.admission.items import Item

__all__ = ["Queue"]


class Queue:
    """Items by priority and place in the log; items without members are passed over."""

    __slots__ = ("_heap", "_left")

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Item]] = []
        self._left = 0

    def __len__(self) -> int:
        return self._left

    def __iter__(self) -> Iterator[Item]:
        """In no order."""
        return (item for _, _, item in self._heap if item.members)

    def put(self, item: Item) -> None:
        """The item waits."""
        heapq.heappush(self._heap, (-item.priority, item.lead.position, item))
        self._left += 1

    def take(self) -> Item:
        """The item whose turn it is; there is one while the queue is not empty."""
        while True:
            item = heapq.heappop(self._heap)[2]
            if item.members:
                self._left -= 1
                return item

    def remove(self, item: Item) -> None:
        """The item does not wait any more."""
        self._heap = [entry for entry in self._heap if entry[2] is not item]
        heapq.heapify(self._heap)
        self._left -= 1

    def gone(self) -> None:
        """An item has lost its last member."""
        self._left -= 1
