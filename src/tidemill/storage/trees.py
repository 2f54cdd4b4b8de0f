"""Runs of one correlation id, where somebody waits for their end: rows beside the runs, never a counter.

A row is there for each run that was routed while trees were followed, and says whether the run's completion event was
routed. A tree whose rows all say so has ended; the rows go in the transaction that tells of it.
"""

from __future__ import annotations

from tidemill.clock import Clock
from tidemill.events.event import Event
from tidemill.storage.commit import ROUTER_CURSOR, AppendJob, StatementJob, event_row
from tidemill.storage.contract import Append, CursorMove, TreeSummary
from tidemill.storage.reading import Reading
from tidemill.storage.writing import Writing

__all__ = ["StoredTrees"]


class StoredTrees:
    """See `Trees`."""

    def __init__(self, *, writer: Writing, reading: Reading, clock: Clock) -> None:
        self._writer = writer
        self._reading = reading
        self._clock = clock

    async def begin(self) -> None:
        await self._writer.submit(StatementJob((("seed_trees", ((1,),)), ("settle_trees", ((1,),)))))

    async def ended(self) -> list[str]:
        return [row[0] for row in await self._reading.rows("ended_trees")]

    async def is_open(self, correlation_id: str) -> bool:
        return bool(await self._reading.rows("tree_is_open", correlation_id))

    async def summary(self, correlation_id: str) -> TreeSummary | None:
        rows = await self._reading.rows("tree", correlation_id)
        if not rows:
            return None
        return TreeSummary(
            runs={row[0]: row[1] for row in rows},
            position=min(row[2] for row in rows),
            hop_count=max(row[3] for row in rows),
            queued_at=min(row[4] for row in rows),
            ended_at=max(row[5] or 0 for row in rows),
        )

    async def end(self, correlation_id: str, event: Event | None, *, cursor: int) -> None:
        at = self._clock.now_us()
        events = [] if event is None else [event]
        # Nothing is moved: the router's cursor is compared, so that a router which was overtaken tells of nothing.
        standing = () if not cursor else (CursorMove(ROUTER_CURSOR, str(cursor), str(cursor)),)
        await self._writer.submit(
            AppendJob(
                Append(events=events, cursors=standing),
                [event_row(one, at) for one in events],
                at,
                also=(("delete_tree", ((correlation_id,),)),),
            )
        )
