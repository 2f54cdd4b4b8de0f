"""Which shards one engine owns, by hand: what the nodes of a fleet do to it, without the fleet."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from typing import Any

from tidemill.errors import ShardLost
from tidemill.storage.contract import Recorded
from tidemill.storage.postgres import PostgresStore
from tidemill.storage.shards import ALL
from tidemill.testing.harness import Harness

__all__ = ["Ownership"]


class Ownership:
    """Takes and loses shards of a harness that has just begun, and holds its records up on their way to the disk.

    On PostgreSQL the store's own writer refuses the records of epochs that have passed; on SQLite, which has no other
    process to fear, this class does in its place.
    """

    def __init__(self, harness: Harness) -> None:
        store = harness.store
        self.refused = 0
        #: Set by default; while it is clear no record reaches the disk.
        self.way = asyncio.Event()
        self.way.set()
        #: Set when records wait for the way.
        self.waiting = asyncio.Event()
        self._shards = store.shards
        self._is_fenced = isinstance(store, PostgresStore)
        self._current: dict[int, int] = store._writer.epochs if isinstance(store, PostgresStore) else {}
        self._record = store.runs.record
        store.runs.record = self._record_later  # type: ignore[method-assign]
        self._epochs = dict.fromkeys(ALL, 1)
        self._current.update(self._epochs)
        self._shards.shared = True
        self._shards.change(ALL, self._epochs)

    def lose(self, *shards: int) -> None:
        """Another node may work on these shards from now on."""
        for shard in shards:
            self._current.pop(shard, None)
        self._shards.change(self._shards.owned.difference(shards))

    def take(self, *shards: int, owners_between: int = 0, handed_over: bool = False) -> None:
        """These shards are ours; `owners_between` had them since we did, and the last one gave them back or died."""
        taken = {shard: self._epochs[shard] + owners_between + 1 for shard in shards}
        self._epochs.update(taken)
        self._current.update(taken)
        self._shards.change(
            self._shards.owned.union(shards), taken, handed_over=shards if handed_over else ()
        )

    async def record_elsewhere(self, row: Recorded) -> None:
        """What another owner records."""
        await self._record([row])

    def hold_up(self) -> None:
        """Let no record reach the disk before `way` is set."""
        self.way.clear()
        self.waiting.clear()

    async def _record_later(
        self, rows: Sequence[Recorded], *, fence: Collection[tuple[int, int]] | None = None
    ) -> Any:
        if not self.way.is_set():
            self.waiting.set()
            await self.way.wait()
        assert fence, "records of runs that others may work on carry their epochs"
        lost = frozenset(shard for shard, epoch in fence if self._current.get(shard) != epoch)
        self.refused += len(rows) if lost else 0
        if lost and not self._is_fenced:
            raise ShardLost(lost)
        await self._record(rows, fence=fence)
        assert not lost, "the writer has let records of a lost shard pass"
