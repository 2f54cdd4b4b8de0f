"""How many attempts of one task run at once, in one run or in all; tasks beyond that are set aside.

A task that is let go again may have become void meanwhile, or may be set aside for another reason: it is counted as
`out` until it has started or was given up, so that its place is neither given twice nor lost.
"""

from __future__ import annotations

from tidemill.engine.scheduler.queue import TaskQueue
from tidemill.engine.scheduler.ticket import Ticket

__all__ = ["Limit"]


class Limit:
    """`size` attempts at once."""

    __slots__ = ("aside", "out", "size", "used")

    def __init__(self, size: int) -> None:
        self.size = size
        self.used = 0
        #: Those that were set aside; made when there is one.
        self.aside: TaskQueue | None = None
        #: How many were let go and have not started yet: tickets whose `out_of` this is.
        self.out = 0

    def has_room(self, ticket: Ticket) -> bool:
        """Whether it may start; others that were let go before have their places."""
        return self.used + self.out - (ticket.out_of is self) < self.size

    def set_aside(self, ticket: Ticket) -> None:
        """It waits here until there is room."""
        if self.aside is None:
            self.aside = TaskQueue()
        self.aside.push(ticket.entry)

    def let_go(self) -> list[Ticket]:
        """Those that may try again now."""
        found: list[Ticket] = []
        aside = self.aside
        while aside is not None and self.used + self.out < self.size and (entry := aside.first()) is not None:
            aside.pop()
            ticket = entry[5]
            assert ticket is not None  # noqa: S101 - only tickets are set aside
            ticket.out_of = self
            self.out += 1
            found.append(ticket)
        return found
