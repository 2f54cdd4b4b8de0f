"""Waits on whatever database is behind `Reading` and `Writing`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from tidemill.clock import Clock
from tidemill.errors import CursorMoved
from tidemill.storage.commit import PATTERNS_CURSOR, AppendJob, StatementJob
from tidemill.storage.contract import (
    Append,
    CursorMove,
    DueWait,
    HitWait,
    Ledger,
    RunSummary,
    UnreadWait,
)
from tidemill.storage.feed import Feed
from tidemill.storage.reading import Reading
from tidemill.storage.rows import run_from_row
from tidemill.storage.writing import Writing

__all__ = ["StoredWaits"]


class StoredWaits:
    """See `Waits`."""

    def __init__(self, *, writer: Writing, reading: Reading, ledger: Ledger, clock: Clock) -> None:
        self._writer = writer
        self._reading = reading
        self._ledger = ledger
        self._clock = clock
        self.hits: Feed[None] = Feed(1)

    async def patterns(self) -> tuple[str, dict[str, bytes]]:
        version = await self._ledger.cursor(
            PATTERNS_CURSOR
        )  # first: what is read later may be newer, not older
        return version or "0", dict(await self._reading.rows("wait_patterns"))

    async def keep_patterns(self, patterns: Mapping[str, bytes]) -> None:
        while True:
            version = await self._ledger.cursor(PATTERNS_CURSOR)
            known = {name for name, _ in await self._reading.rows("wait_patterns")}
            rows = tuple((name, body) for name, body in patterns.items() if name not in known)
            if not rows:
                return
            move = CursorMove(PATTERNS_CURSOR, version, str(int(version or 0) + 1))
            job = AppendJob(
                Append(cursors=[move]), [], self._clock.now_us(), also=(("insert_wait_pattern", rows),)
            )
            try:
                await self._writer.submit(job)
            except CursorMoved:
                continue  # another node was first
            return

    async def forget_patterns(self, *, but: Collection[str]) -> int:
        others = {name for name, _ in await self._reading.rows("wait_patterns")}.difference(but)
        if others:
            others -= {name for (name,) in await self._reading.rows("awaited_patterns")}
        if others:
            rows = tuple((name,) for name in sorted(others))
            await self._writer.submit(StatementJob((("drop_wait_pattern", rows),)))
        return len(others)

    async def first_due(self, shards: Collection[int] | None = None, *, after: int = -1) -> int | None:
        rows = await self._reading.rows("first_due_wait", after, _set(shards))
        return next((due_at for (due_at,) in rows), None)

    async def due(
        self, until: int, *, after: tuple[int, str, str], limit: int, shards: Collection[int] | None = None
    ) -> list[DueWait]:
        rows = await self._reading.rows("due_waits", until, *after, limit, _set(shards))
        return [DueWait(*row) for row in rows]

    async def hit(self, *, limit: int, shards: Collection[int] | None = None) -> list[HitWait]:
        return [HitWait(*row) for row in await self._reading.rows("hit_waits", limit, _set(shards))]

    async def forget_hits(self) -> None:
        await self._writer.submit(StatementJob((("forget_hits", ((1,),)),)))

    async def unread(self, *, limit: int, shards: Collection[int] | None = None) -> list[UnreadWait]:
        return [UnreadWait(*row) for row in await self._reading.rows("unread_waits", limit, _set(shards))]

    async def have_read(self, waits: Sequence[UnreadWait]) -> None:
        rows = tuple((one.run_id, one.task, one.routed) for one in waits)
        await self._writer.submit(StatementJob((("have_read_waits", rows),)))

    async def counts(self, shards: Collection[int] | None = None) -> dict[str, int]:
        return dict(await self._reading.rows("wait_counts", _set(shards)))

    async def parked(self, run_ids: Collection[str]) -> list[RunSummary]:
        return [run_from_row(row) for row in await self._reading.rows("parked_runs", frozenset(run_ids))]

    async def parked_count(self, dag: str | None = None, shards: Collection[int] | None = None) -> int:
        if dag is None:
            rows = await self._reading.rows("parked_count", _set(shards))
        else:
            rows = await self._reading.rows("parked_count_of", dag, _set(shards))
        return int(rows[0][0])


def _set(shards: Collection[int] | None) -> Any:
    return None if shards is None else frozenset(shards)
