"""Opening and closing a PostgreSQL store."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import asyncpg

from tidemill.clock import Clock
from tidemill.errors import TidemillError
from tidemill.storage.admissions import StoredAdmissions
from tidemill.storage.approvals import StoredApprovals
from tidemill.storage.cache import StoredCache
from tidemill.storage.claims import EventData
from tidemill.storage.commit import ROUTER_CURSOR, Commit, Job, RouteJob, changes_subscriptions
from tidemill.storage.contract import NodeView
from tidemill.storage.dead_letters import StoredDeadLetters
from tidemill.storage.definitions import StoredDefinitions
from tidemill.storage.durations import StoredDurations
from tidemill.storage.keeping import StoredKeeping
from tidemill.storage.limits import Limits
from tidemill.storage.outbox import StoredOutbox
from tidemill.storage.postgres.connection import LOST, connect, open_pool, refusal
from tidemill.storage.postgres.ledger import PostgresLedger
from tidemill.storage.postgres.log import PostgresEventLog
from tidemill.storage.postgres.membership import Membership
from tidemill.storage.postgres.migrate import check_server, claim, migrate, refuse_half_copied
from tidemill.storage.postgres.notices import Notices
from tidemill.storage.postgres.queries import QUERIES
from tidemill.storage.postgres.reading import PostgresReading
from tidemill.storage.postgres.writer import Writer
from tidemill.storage.replays import StoredReplays
from tidemill.storage.runs import StoredRuns
from tidemill.storage.scheduling import StoredPasts, StoredPools
from tidemill.storage.shards import Shards
from tidemill.storage.subscriptions import StoredSubscriptions
from tidemill.storage.tail import Tail
from tidemill.storage.trees import StoredTrees
from tidemill.storage.waits import StoredWaits

__all__ = ["PostgresStore", "open_store", "open_target"]


class PostgresStore:
    """See `Store`. Owns no shard until `membership` runs, or every one always where it is alone."""

    def __init__(
        self,
        url: str,
        *,
        connection: asyncpg.Connection,
        pool: asyncpg.Pool,
        head: int,
        routed: int,
        clock: Clock,
        limits: Limits,
        probe: Callable[[str], None] | None,
        data: EventData | None = None,
        alone: bool = False,
    ) -> None:
        self.shards = Shards() if alone else Shards((), shared=True)
        self._closed = False
        self._data = data
        self._reading = PostgresReading(pool)
        self._tail = Tail(head)
        self._writer = Writer(
            url,
            connection,
            publish=self._publish,
            on_lost=self._session_lost,
            on_connected=self._session_opened,
            probe=probe,
        )
        self.membership = Membership(url, self._writer, self._reading, self.shards)
        self.log = PostgresEventLog(
            writer=self._writer,
            reading=self._reading,
            tail=self._tail,
            clock=clock,
            limits=limits,
            routed=routed,
            data=data,
        )
        self.ledger = PostgresLedger(reading=self._reading)
        self.runs = StoredRuns(writer=self._writer, reading=self._reading, clock=clock, data=data)
        self.admissions = StoredAdmissions(ledger=self.ledger, reading=self._reading)
        self.outbox = StoredOutbox(writer=self._writer, reading=self._reading, clock=clock)
        self.dead_letters = StoredDeadLetters(
            writer=self._writer, reading=self._reading, clock=clock, data=data
        )
        self.subscriptions = StoredSubscriptions(writer=self._writer, reading=self._reading, clock=clock)
        self.trees = StoredTrees(writer=self._writer, reading=self._reading, clock=clock)
        self.definitions = StoredDefinitions(writer=self._writer, reading=self._reading, clock=clock)
        self.durations = StoredDurations(writer=self._writer, reading=self._reading)
        self.cache = StoredCache(writer=self._writer, reading=self._reading)
        self.pools = StoredPools(writer=self._writer, reading=self._reading, clock=clock)
        self.pasts = StoredPasts(writer=self._writer, reading=self._reading)
        self.waits = StoredWaits(writer=self._writer, reading=self._reading, ledger=self.ledger, clock=clock)
        self.approvals = StoredApprovals(
            writer=self._writer, reading=self._reading, clock=clock, requests=self.runs.new_requests
        )
        self.replays = StoredReplays(log=self.log, ledger=self.ledger, writer=self._writer)
        self.keeping = StoredKeeping(
            writer=self._writer, reading=self._reading, ledger=self.ledger, data=data
        )
        self._notices = Notices(
            url, own_session=lambda: self._writer.session, heard=self._heard, look=self.look_around
        )

    async def nodes(self) -> list[NodeView]:
        """Every node that works on this database."""
        return await self.membership.nodes()

    @property
    def refused_records(self) -> int:
        """Records that were refused because their shard had been lost, by the writer or before they came to it."""
        return self._writer.refused + self.shards.refused

    @property
    def session(self) -> int | None:
        """Process id of the server's side of the writing session, None while there is no session."""
        return self._writer.session

    async def close(self) -> None:
        """Commit what was handed in, give the shards back, and close; does nothing a second time."""
        if self._closed:
            return
        self._closed = True
        await self.membership.leave()
        await self._notices.close()
        await self._writer.close()
        await self._reading.close()
        if self._data is not None:
            self._data.close()

    async def abandon(self) -> None:
        """Let go of the database as a crash would, for fault injection."""
        self._closed = True
        await self.membership.abandon()
        await self._notices.close()
        await self._writer.abandon()
        self._reading.terminate()

    # ── what was committed here ──

    def _publish(self, commit: Commit, jobs: Sequence[Job]) -> None:
        if ROUTER_CURSOR in commit.cursors:
            self.log.routed = max(self.log.routed, int(commit.cursors[ROUTER_CURSOR]))
        if commit.has_hits:
            self.waits.hits.put([None])
        if commit.logged:
            first, last = commit.logged[0][0].position, commit.logged[-1][0].position
            if first == self._tail.head + 1:
                self._tail.extend(commit.logged)
            elif last > self._tail.head:  # other nodes appended in between
                self._tail.restart(last)
        for job in jobs:
            if isinstance(job, RouteJob):
                owned = self.shards.owned
                self.runs.new_runs.put(run for run in job.batch.runs if run.shard in owned)
                self.outbox.arrivals.committed(job.batch.deliveries)
                if job.batch.admission is not None and job.batch.admission.cancels:
                    self.runs.new_requests.put([None])
            elif changes_subscriptions(job):
                self.subscriptions.changed()

    # ── what was committed elsewhere ──

    def _heard(self, news: dict[str, Any]) -> None:
        self._reach(news.get("head", 0))
        if news.get("runs"):
            self.runs.new_runs.miss()
        if news.get("hits"):
            self.waits.hits.put([None])
        if news.get("requests"):
            self.runs.new_requests.put([None])
        if news.get("subscriptions"):
            self.subscriptions.changed()
        if news.get("shards"):
            self.membership.wake()
        for name, position in news.get("deliveries", {}).items():
            self.outbox.arrivals.reached(name, position)

    def _reach(self, head: int) -> None:
        if head > self._tail.head:
            self._tail.restart(head)

    async def look_around(self) -> None:
        """Find out what was committed without our being told; made each second, and to be had at once by this."""
        ((head, routed),) = await self._reading.rows("state_of_log")
        moved = head > self._tail.head or int(routed or 0) > self.log.routed
        self.log.routed = max(self.log.routed, int(routed or 0))
        self._reach(head)
        if moved:
            self.runs.new_runs.miss()
            self.waits.hits.put([None])
        self.runs.new_requests.put([None])
        await self.subscriptions.look()
        if awaited := self.outbox.arrivals.awaited:
            for name, position in await self._reading.rows("pending_deliveries", awaited):
                if position is not None:
                    self.outbox.arrivals.reached(name, position)

    # ── the writing session ──

    def _session_lost(self) -> None:
        """Whatever this node worked on may already be another one's, where there are others."""
        if self.shards.shared:
            self.shards.change(())

    def _session_opened(self) -> None:
        self.membership.wake()
        self.runs.new_runs.miss()


async def open_target(url: str, project: str) -> asyncpg.Connection:
    """A session on the database of `project` at `url`, brought to the newest form; raises as `open_store` does."""
    try:
        connection = await connect(url)
    except (*LOST, asyncpg.PostgresError, ValueError, TimeoutError) as error:
        raise refusal(error, url) from error
    try:
        await check_server(connection)
        await migrate(connection)
        await claim(connection, project)
    except BaseException as error:
        await connection.close()
        if isinstance(error, (*LOST, asyncpg.PostgresError)):
            raise refusal(error, url) from error
        raise
    return connection


async def open_store(
    url: str,
    *,
    clock: Clock,
    project: str = "tidemill",
    limits: Limits | None = None,
    probe: Callable[[str], None] | None = None,
    data: EventData | None = None,
    alone: bool = False,
) -> PostgresStore:
    """Open the database at `url`, migrated as needed; other nodes may have it open too.

    `alone`: nobody else works on it, so that all shards are this process's whatever becomes of its session. Nothing
    checks that: it is for tests and tools.

    Raises `SettingsError` when it cannot be used as it is, `StoreUnavailable` when it does not answer now. `probe` is
    told of every commit point just before and after it, for fault injection.
    """
    connection = await open_target(url, project)
    async with contextlib.AsyncExitStack() as undo:
        undo.push_async_callback(connection.close)
        try:
            await refuse_half_copied(connection)
            pool = await open_pool(url)
            undo.callback(pool.terminate)
            head, routed = await connection.fetchrow(QUERIES["state_of_log"])
        except TidemillError:
            raise
        except (*LOST, asyncpg.PostgresError, ValueError, TimeoutError) as error:
            raise refusal(error, url) from error
        undo.pop_all()
    return PostgresStore(
        url,
        connection=connection,
        pool=pool,
        head=head,
        routed=int(routed or 0),
        clock=clock,
        limits=limits or Limits(),
        probe=probe,
        alone=alone,
        data=data,
    )
