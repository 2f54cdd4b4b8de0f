"""When waiting tasks must have started."""

from __future__ import annotations

from heapq import heappop, heappush

from tidemill.engine.scheduler.ticket import Ticket

__all__ = ["Deadlines"]


class Deadlines:
    """Tickets by the time at which they have waited too long."""

    __slots__ = ("_heap",)

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Ticket]] = []

    def add(self, due: int, ticket: Ticket) -> None:
        """The ticket's task must have started before `due`."""
        heappush(self._heap, (due, ticket.turn, ticket))

    @property
    def next(self) -> int | None:
        """When the next one is due; None for none."""
        heap = self._heap
        while heap and not heap[0][2].is_open:
            heappop(heap)
        return heap[0][0] if heap else None

    def expired(self, now: int) -> list[Ticket]:
        """Those that have waited too long; each is told once."""
        found = []
        while (due := self.next) is not None and due <= now:
            ticket = heappop(self._heap)[2]
            if ticket.is_waiting:
                found.append(ticket)
        return found
