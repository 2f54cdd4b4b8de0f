"""The event log as a stream for readers that come and go: Server-Sent Events without their text form.

Rule 1. No gap, no double: a reader says which position it has seen, and gets every later event once, in
        order.
Rule 2. A reader holds no memory here: events are read in pages of `PAGE` when it asks for more, so a slow one
        falls behind in the log (on disk), never in a queue.
The HTTP side (ids, `Last-Event-ID`, text form) is the API's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from tidemill.events.event import LoggedEvent
from tidemill.patterns.rule import Rule
from tidemill.storage.contract import EventLog

__all__ = ["PAGE", "EventStream", "follow"]

#: Events read from the log at once.
PAGE = 200


class EventStream:
    """One reader's place in the log."""

    def __init__(self, log: EventLog, *, after: int, rule: Rule | None = None) -> None:
        self._log = log
        self._rule = rule
        #: Every event up to here was seen; a position beyond the log's end (of another log) begins at the
        #: end.
        self.position = max(0, min(after, log.head))

    async def follow(self, *, heartbeat: float) -> AsyncGenerator[LoggedEvent | None, None]:
        """Events that match, as they come; None when there was none for `heartbeat` seconds.

        Ends only when it is closed. Raises `StorageError`: the reader then comes again with its last
        position.
        """
        loop = asyncio.get_running_loop()
        silent_until = loop.time() + heartbeat
        while True:
            for logged in await self._log.read(self.position, PAGE):
                self.position = logged.position
                if self._rule is None or self._rule.matches(logged.event):
                    yield logged
                    silent_until = loop.time() + heartbeat
            if self._log.head <= self.position:
                await self._wait(silent_until)
            if loop.time() >= silent_until:
                yield None
                silent_until = loop.time() + heartbeat

    async def _wait(self, until: float) -> None:
        try:
            async with asyncio.timeout_at(until):
                await self._log.wait_for_event(self.position)
        except TimeoutError:
            return


def follow(
    log: EventLog, *, after: int, rule: Rule | None = None, heartbeat: float = 15.0
) -> AsyncGenerator[LoggedEvent | None, None]:
    """Events after `after` that match `rule`, then live; None after `heartbeat` seconds without."""
    return EventStream(log, after=after, rule=rule).follow(heartbeat=heartbeat)
