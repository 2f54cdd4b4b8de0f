"""What the project's folders said, and from which event on: every disposition can be explained later.

The router says under which version it routes before it routes anything under it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from tidemill.clock import Clock
from tidemill.storage.commit import StatementJob
from tidemill.storage.contract import RoutedUnder
from tidemill.storage.reading import Reading
from tidemill.storage.writing import Writing

__all__ = ["StoredDefinitions"]

#: Beyond every position.
_LAST = 1 << 62


class StoredDefinitions:
    """See `Definitions`."""

    def __init__(self, *, writer: Writing, reading: Reading, clock: Clock) -> None:
        self._writer = writer
        self._reading = reading
        self._clock = clock

    async def begin(self, version: str, written: Sequence[Any], *, position: int) -> None:
        """Events after `position` are routed under `version` from now on; durable on return."""
        latest = await self.latest(limit=1)
        if latest and latest[0].version == version:
            return
        now = self._clock.now_us()
        await self._writer.submit(
            StatementJob(
                (
                    ("insert_definitions", ((version, now, orjson.dumps(written)),)),
                    ("insert_routed_under", ((position, version, now),)),
                )
            )
        )

    async def at(self, position: int) -> RoutedUnder | None:
        """The version under which the event at `position` was routed; None before the first."""
        rows = await self._reading.rows("routed_under", position, 1)
        return RoutedUnder(*rows[0]) if rows else None

    async def latest(self, *, limit: int) -> list[RoutedUnder]:
        """Versions that events were routed under, newest first."""
        return [RoutedUnder(*row) for row in await self._reading.rows("routed_under", _LAST, limit)]

    async def written(self, version: str) -> list[tuple[str, Any]] | None:
        """(list, entry) of each definition of that version as written; None when it is not kept."""
        rows = await self._reading.rows("definitions", version)
        if not rows:
            return None
        return [(kind, entry) for kind, entry in orjson.loads(rows[0][0])]
