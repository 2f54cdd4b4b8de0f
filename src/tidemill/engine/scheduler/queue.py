"""One queue of waiting tasks in their order: by level, then rank, then turn.

A level is the period in which a task became ready, less its priority: as time passes the levels of newcomers rise, so
that what waits is overtaken by ever higher priorities only. What comes in order, and nearly everything does, is
appended; only what comes out of order goes through a heap.
"""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush

from tidemill.engine.live import LiveRun
from tidemill.engine.scheduler.ticket import Ticket

__all__ = ["Entry", "TaskQueue"]

#: (level, rank with its sign changed, turn, run, task run, ticket of a task that asks for something).
Entry = tuple[int, float, int, LiveRun, int, Ticket | None]


class TaskQueue:
    """Entries, the first one out first. Entries whose ticket is void are dropped when they come to the front."""

    __slots__ = ("ahead", "behind")

    def __init__(self) -> None:
        #: In order.
        self.behind: deque[Entry] = deque()
        #: A heap.
        self.ahead: list[Entry] = []

    def __len__(self) -> int:
        return len(self.behind) + len(self.ahead)

    def push(self, entry: Entry) -> None:
        """Add a waiting task."""
        behind = self.behind
        if not behind or entry > behind[-1]:
            behind.append(entry)
        else:
            heappush(self.ahead, entry)

    def first(self) -> Entry | None:
        """What `pop` would give, without void tickets."""
        while True:
            if not (self.ahead or self.behind):
                return None
            entry = self.peek()
            ticket = entry[5]
            if ticket is None or ticket.is_waiting:
                return entry
            self.pop()

    def peek(self) -> Entry:
        """What `pop` would give, void or not; there is one."""
        ahead, behind = self.ahead, self.behind
        return ahead[0] if ahead and not (behind and behind[0] < ahead[0]) else behind[0]

    def pop(self) -> Entry:
        """The entry that comes first."""
        ahead, behind = self.ahead, self.behind
        if not ahead:
            return behind.popleft()
        if behind and behind[0] < ahead[0]:
            return behind.popleft()
        return heappop(ahead)
