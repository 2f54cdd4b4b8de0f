"""Which nodes there are and which shards this one owns, by PostgreSQL's own means.

1. A shard is owned by whoever holds its advisory lock in the writing session: the session that commits. Nobody has to
   believe anybody: a session that is gone can neither hold a lock nor commit.
2. Each node tells the database every second that it is there. A node whose session is gone, or that has been silent
   for too long (stopped, cut off), is taken for dead: its session is ended first, then its shards are free.
3. Every node computes the same share for itself: who has more gives back, who has less takes what is free. Only what
   must move moves, and shards with live runs move last.
4. Telling and ending need no writing session: it may wait for a lock of the very node that has to be ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import asyncpg
import orjson

from tidemill.errors import StorageError
from tidemill.ids import SHARDS
from tidemill.storage.contract import NodeView
from tidemill.storage.postgres.connection import LOST, connect, translate
from tidemill.storage.postgres.queries import QUERIES
from tidemill.storage.postgres.reading import PostgresReading
from tidemill.storage.postgres.writer import Writer
from tidemill.storage.shards import Shards

__all__ = ["Membership"]

logger = logging.getLogger(__name__)

#: First key of the advisory locks of shards; the second is the shard.
LOCK_CLASS = 0x71DE
_ROUND_SECONDS = 1.0
#: Rounds that shards with live runs may stay although another node should have them.
_PATIENT_ROUNDS = 20


class Membership:
    """One node's part in the fleet."""

    def __init__(self, database: str, writer: Writer, reading: PostgresReading, shards: Shards) -> None:
        self._database = database
        #: A session for telling that we are there, one statement at a time.
        self._link: asyncpg.Connection | None = None
        self._telling = asyncio.Lock()
        self._writer = writer
        self._reading = reading
        self._shards = shards
        self._node = ""
        self._url = ""
        self._timeout = 4.0
        self._draining = False
        self._load: Callable[[], Mapping[str, Any]] = dict
        self._busy: Callable[[], frozenset[int]] = frozenset
        self._impatience = 0
        self._task: asyncio.Task[None] | None = None
        self._woken = asyncio.Event()

    async def join(
        self,
        node: str,
        url: str,
        *,
        timeout_seconds: float,
        load: Callable[[], Mapping[str, Any]],
        busy: Callable[[], frozenset[int]],
    ) -> None:
        """Become a node of the fleet; on return the first free shards are owned.

        `node` is unique in the fleet. `load` is what `tidemill nodes` shows of it, `busy` the shards with live runs.
        """
        self._node, self._url, self._timeout = node, url, timeout_seconds
        self._load, self._busy = load, busy
        await self._round()
        self._task = asyncio.get_running_loop().create_task(self._run(), name="membership")

    def wake(self) -> None:
        """Have a look now: somebody came, went or gave shards back."""
        self._woken.set()

    def retire(self) -> None:
        """Take nothing any more, and give back what has no attempts under way; the rest follows as they end."""
        self._draining = True
        self.wake()

    async def drain(self) -> None:
        """Give every shard back; nothing is taken any more. What is handed in for them later is refused."""
        self._draining = True
        self._impatience = _PATIENT_ROUNDS
        if self._task is not None:
            with contextlib.suppress(StorageError):
                await self._round()

    async def leave(self) -> None:
        """Give everything back and be forgotten."""
        if self._task is None:
            self._cut()
            return
        await self.drain()
        await self._stop()
        with contextlib.suppress(StorageError):
            await self._writer.call(lambda connection: connection.execute(QUERIES["delete_node"], self._node))

    async def abandon(self) -> None:
        """Stop without a word, as a crash would."""
        await self._stop()

    async def _stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        self._cut()
        await asyncio.sleep(0)

    async def nodes(self) -> list[NodeView]:
        """Every node of the fleet by name."""
        rows = await self._reading.rows("node_views", LOCK_CLASS)
        return [
            NodeView(node, url, shards, draining, seconds, orjson.loads(load))
            for node, url, shards, draining, seconds, load in rows
        ]

    # ── rounds ──

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), _ROUND_SECONDS)
            self._woken.clear()
            with contextlib.suppress(StorageError):
                await self._round()

    async def _round(self) -> None:
        session = self._writer.session
        if session is None:
            return  # nothing is owned; the writer wakes us when it has another one
        async with self._telling:
            try:
                if self._link is None or self._link.is_closed():
                    self._link = await connect(self._database)
                nodes = await self._meet(self._link, session)
            except (*LOST, asyncpg.PostgresError, TimeoutError) as error:
                self._cut()
                raise translate(error) from error
        await self._balance(nodes)

    def _cut(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.terminate()

    async def _meet(self, connection: asyncpg.Connection, session: int) -> list[str]:
        """Tell that we are there; the names of all who may own shards, the dead ones ended."""
        load = orjson.dumps(self._load()).decode()
        is_new = await connection.fetchval(
            QUERIES["upsert_node"], self._node, self._url, self._draining, load, session
        )
        if is_new:
            await connection.execute(QUERIES["notify"], '{"shards":true}')
        going: list[str] = []
        for node, their_session, draining, alive, silent in await connection.fetch(QUERIES["nodes"]):
            if node != self._node and (not alive or silent > self._timeout):
                logger.warning("node.lost", extra={"node": node, "silent_seconds": round(silent, 1)})
                await connection.execute(QUERIES["end_session"], node, their_session)
                await connection.execute(QUERIES["delete_silent_node"], node, their_session)
            elif not draining:
                going.append(node)
        return going

    async def _balance(self, nodes: Sequence[str]) -> None:
        owned = self._shards.owned
        share = _share(sorted(nodes), self._node)
        if len(owned) > share:
            await self._give_back(self._choose(owned, len(owned) - share))
        else:
            self._impatience = 0
            if len(owned) < share:
                await self._take(share - len(owned))

    def _choose(self, owned: frozenset[int], count: int) -> list[int]:
        """Shards to give back: those without live runs first, the others when patience is over."""
        busy = self._busy() & owned
        idle = sorted(owned - busy, reverse=True)
        self._impatience += 1
        if len(idle) >= count or self._impatience <= _PATIENT_ROUNDS:
            return idle[:count]
        return idle + sorted(busy, reverse=True)[: count - len(idle)]

    async def _give_back(self, shards: Sequence[int]) -> None:
        if not shards:
            return
        # First nobody works on them any more and what still comes is refused; only then others may.
        for shard in shards:
            self._writer.epochs.pop(shard, None)
        self._shards.change(self._shards.owned.difference(shards))

        async def unlock(connection: asyncpg.Connection) -> None:
            await connection.execute(QUERIES["hand_over_shards"], list(shards))
            await connection.execute(QUERIES["unlock_shards"], LOCK_CLASS, list(shards))
            await connection.execute(QUERIES["notify"], '{"shards":true}')

        await self._writer.call(unlock)
        logger.info(
            "node.shards_changed", extra={"given_back": len(shards), "owned": len(self._shards.owned)}
        )

    async def _take(self, count: int) -> None:
        async def lock(connection: asyncpg.Connection) -> tuple[int, dict[int, int], list[int]]:
            session = connection.get_server_pid()
            held = {row[0] for row in await connection.fetch(QUERIES["locked_shards"], LOCK_CLASS)}
            free = [shard for shard in range(SHARDS) if shard not in held][:count]
            if not free:
                return session, {}, []
            rows = await connection.fetch(QUERIES["lock_shards"], LOCK_CLASS, free)
            taken = [shard for shard, is_ours in rows if is_ours]
            raised = await connection.fetch(QUERIES["raise_epochs"], taken, self._node)
            epochs = {shard: epoch for shard, epoch, _ in raised}
            return session, epochs, [shard for shard, _, handed_over in raised if handed_over]

        session, epochs, handed_over = await self._writer.call(lock)
        # The session may have been lost since it answered: then so are its locks.
        if epochs and session == self._writer.session:
            self._writer.epochs.update(epochs)
            self._shards.change(self._shards.owned.union(epochs), epochs, handed_over=handed_over)
            logger.info("node.shards_changed", extra={"taken": len(epochs), "owned": len(self._shards.owned)})


def _share(nodes: Sequence[str], node: str) -> int:
    """How many shards `node` should own; the shares of all nodes add up to all shards."""
    if node not in nodes:
        return 0
    each, rest = divmod(SHARDS, len(nodes))
    return each + (nodes.index(node) < rest)
