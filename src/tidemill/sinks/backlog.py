"""What one lane knows of its pending deliveries: a bounded window on the outbox; no I/O, no clock.

Rule 1. Bounded: at most `PAGE` deliveries ready, `WAITING_LIMIT` waiting for their time, and those in hand
        (a lane's concurrency). What does not fit is forgotten, and only the earliest time of it is kept.
Rule 2. Nothing is lost by forgetting: the outbox holds every pending delivery; when the earliest forgotten
        one falls due, the window goes back to the start of the outbox and reads it again.
Rule 3. A delivery is known at most once: what is ready, waiting or in hand is not admitted a second time, and
        neither is what was dropped or forgotten while the page was being read (the page is older than that).
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Sequence

from tidemill.storage.contract import Delivery

__all__ = ["PAGE", "WAITING_LIMIT", "Backlog"]

#: Deliveries read from the outbox at once.
PAGE = 200
#: Deliveries whose time has not come that are kept in memory, per subscription (about 4 MB).
WAITING_LIMIT = 10_000


class Backlog:
    """The window of one subscription on the outbox.

    `ordered`: a delivery whose time has not come holds back every later one; only the oldest is handed out.
    """

    def __init__(self, *, ordered: bool, page: int = PAGE, waiting_limit: int = WAITING_LIMIT) -> None:
        self._ordered = ordered
        self._page = page
        self._limit = waiting_limit
        self._ready: deque[Delivery] = deque()
        self._waiting: dict[int, Delivery] = {}
        #: Heap of (due_at, position), one for each that waits.
        self._times: list[tuple[int, int]] = []
        #: Positions that are ready, waiting or in hand.
        self._known: set[int] = set()
        #: Positions that left `_known` since the page being read was asked for.
        self._left: set[int] = set()
        self._forgotten_at: int | None = None
        #: Deliveries that the window has passed may be pending again.
        self._again = False
        self._recent = False
        self._front = 0
        #: The highest position ever admitted: a new delivery is above it.
        self.newest = 0
        #: There may be pending deliveries that the window has not come to yet.
        self.behind = True

    def __len__(self) -> int:
        return len(self._known)

    @property
    def complete(self) -> bool:
        """Whether every pending delivery is known, so that `len` is exact."""
        return not self.behind and self._forgotten_at is None

    @property
    def wants_page(self) -> bool:
        """Whether the next page of the outbox should be read now."""
        return self.behind and not self._ready

    def begin_page(self) -> tuple[int, int]:
        """(after, limit) of the page to be read; what leaves the window meanwhile is not admitted from it."""
        self._left.clear()
        if self._again:
            self._again, self._front = False, 0
        return self._front, self._page

    def rewind(self) -> None:
        """Deliveries that were done with are pending again: go back to the start of the outbox.

        What is ready in order is read again, so that an earlier delivery comes before it.
        """
        self._again = self.behind = True
        if self._ordered:
            self._known.difference_update(delivery.position for delivery in self._ready)
            self._ready.clear()

    def admit(self, page: Sequence[Delivery], *, now: int) -> None:
        """Take in the page that was asked for, which may be short: then the window has come to the end."""
        self.behind = len(page) >= self._page or self._again
        for delivery in page:
            position = delivery.position
            self._front = max(self._front, position)
            if position in self._known or position in self._left:
                continue
            self._known.add(position)
            if self._ordered or delivery.due_at <= now:
                self._ready.append(delivery)
            else:
                self._wait(delivery)
        self.newest = max(self.newest, self._front)

    def take(self, now: int) -> Delivery | None:
        """The delivery to be tried next, None when there is none now; it is in hand until put back or
        dropped.

        Unordered, what was never tried and what is due again take turns, so that neither starves the other.
        """
        if self._ordered:
            return self._ready.popleft() if self._ready and self._ready[0].due_at <= now else None
        self._recall(now)
        due = bool(self._times) and self._times[0][0] <= now
        if due and not (self._recent and self._ready):
            self._recent = True
            return self._waiting.pop(heapq.heappop(self._times)[1])
        self._recent = False
        return self._ready.popleft() if self._ready else None

    def put_back(self, delivery: Delivery) -> None:
        """A delivery in hand is pending again, with its new attempts and time."""
        if not self._ordered:
            self._wait(delivery)
        elif self._ready and self._ready[0].position < delivery.position:
            # An earlier one is pending again meanwhile: read all of them anew, in order.
            self._known.discard(delivery.position)
            self.rewind()
        else:
            self._ready.appendleft(delivery)

    def drop(self, position: int) -> None:
        """A delivery in hand is done with."""
        self._leave(position)

    def next_at(self) -> int | None:
        """When a delivery falls due next, as far as is known; None when none waits for its time."""
        if self._ordered:
            return self._ready[0].due_at if self._ready else None
        times = [self._times[0][0]] if self._times else []
        if self._forgotten_at is not None:
            times.append(self._forgotten_at)
        return min(times, default=None)

    def _wait(self, delivery: Delivery) -> None:
        self._waiting[delivery.position] = delivery
        heapq.heappush(self._times, (delivery.due_at, delivery.position))
        if len(self._times) > self._limit:
            self._forget()

    def _forget(self) -> None:
        """Keep the earlier half of what waits, so that the price of sorting is paid once per half a limit."""
        self._times.sort()
        kept = max(1, self._limit // 2)
        earliest = self._times[kept][0]
        for _, position in self._times[kept:]:
            del self._waiting[position]
            self._leave(position)
        del self._times[kept:]
        self._forgotten_at = earliest if self._forgotten_at is None else min(self._forgotten_at, earliest)

    def _recall(self, now: int) -> None:
        if self._forgotten_at is not None and self._forgotten_at <= now:
            self._forgotten_at = None
            self._front, self.behind = 0, True

    def _leave(self, position: int) -> None:
        self._known.discard(position)
        self._left.add(position)
