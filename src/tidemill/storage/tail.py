"""The recent end of the event log in memory, so that followers do not read back what was just written.

Holds only committed events. Bounded by count and by bytes; a follower that fell behind the bound reads the
database instead.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

from tidemill.events.event import LoggedEvent

__all__ = ["Tail"]


class Tail:
    """A window over the newest events, with wake-ups for those who wait for more."""

    def __init__(self, head: int, *, max_events: int = 16_384, max_bytes: int = 32 << 20) -> None:
        #: Position of the newest committed event.
        self.head = head
        self._first = head + 1
        self._window: deque[tuple[LoggedEvent, int]] = deque()
        self._bytes = 0
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._waiters: list[asyncio.Future[None]] = []

    def extend(self, logged: Sequence[tuple[LoggedEvent, int]]) -> None:
        """Add committed events with their sizes in bytes, positions rising by one, and wake followers."""
        if not logged:
            return
        window = self._window
        window.extend(logged)
        self._bytes += sum(size for _, size in logged)
        while len(window) > self._max_events or (self._bytes > self._max_bytes and len(window) > 1):
            self._bytes -= window.popleft()[1]
        self.head = logged[-1][0].position
        self._first = window[0][0].position
        self._wake()

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def restart(self, head: int) -> None:
        """Forget the window: the log ends at `head`, and what is missing here is in the database."""
        self._window.clear()
        self._bytes = 0
        self.head = head
        self._first = head + 1
        self._wake()

    def read(self, after: int, limit: int) -> list[LoggedEvent] | None:
        """Events with position > `after` when the window still holds the first of them, else None."""
        if after >= self.head:
            return []
        skip = after + 1 - self._first
        if skip < 0:
            return None
        window = self._window
        if skip == 0 and limit >= len(window):
            return [entry[0] for entry in window]
        stop = min(len(window), skip + limit)
        return [window[place][0] for place in range(skip, stop)]

    async def wait(self, after: int) -> None:
        """Return as soon as `head` > `after`."""
        while self.head <= after:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)
                raise
