"""Events against what runs wait for: which waits an event may end, told in the transaction that routes it.

1. Events are matched against the distinct patterns that are waited for, which are few, and never against waits. What
   an event matches becomes a key; whether somebody waits for that key is looked up in the routing transaction, which
   is ordered against those in which waits begin.
2. The version of the patterns goes with each batch: where a pattern has been added since they were read, the batch is
   refused (`CursorMoved`) and its events are matched again.
3. What is told again by a replay ends no wait.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from tidemill.events.event import LoggedEvent
from tidemill.patterns.index import Index
from tidemill.patterns.rule import PatternError
from tidemill.project.waits import WaitPattern, compile_body
from tidemill.storage.contract import Waits

__all__ = ["Awaited"]

logger = logging.getLogger(__name__)


class Awaited:
    """The patterns that are waited for, ready to be matched."""

    def __init__(self, waits: Waits) -> None:
        self._waits = waits
        self._patterns: dict[str, WaitPattern] = {}
        self._index: Index | None = None
        #: Version of what was read; None before it was.
        self.version: str | None = None

    async def load(self) -> None:
        """Read the patterns as they are now."""
        version, bodies = await self._waits.patterns()
        if version == self.version:
            return
        self._patterns = _compiled(bodies)
        self._index = (
            Index({name: one.rule for name, one in self._patterns.items()}) if self._patterns else None
        )
        self.version = version

    def keys(self, logged: LoggedEvent) -> list[tuple[str, int]]:
        """(key, position) for each pattern that the event matches."""
        event = logged.event
        if self._index is None or "replayid" in event.extensions:
            return []
        found: list[tuple[str, int]] = []
        for name in self._index.match(event):
            key = self._patterns[name].key(event)
            if key is not None:
                found.append((key, logged.position))
        return found


def _compiled(bodies: Mapping[str, bytes]) -> dict[str, WaitPattern]:
    found: dict[str, WaitPattern] = {}
    for name, body in bodies.items():
        try:
            found[name] = compile_body(name, body)
        except (PatternError, LookupError, ValueError) as error:
            logger.error("wait.pattern_refused", extra={"pattern": name, "error": str(error)})
    return found
