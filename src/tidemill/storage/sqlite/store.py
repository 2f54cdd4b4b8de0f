"""Opening and closing a SQLite store."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tidemill.clock import Clock
from tidemill.errors import ProjectLocked, StoreUnavailable
from tidemill.events.event import LoggedEvent
from tidemill.storage.admissions import StoredAdmissions
from tidemill.storage.approvals import StoredApprovals
from tidemill.storage.cache import StoredCache
from tidemill.storage.claims import EventData
from tidemill.storage.commit import Job, RouteJob, changes_subscriptions
from tidemill.storage.contract import NodeView
from tidemill.storage.dead_letters import StoredDeadLetters
from tidemill.storage.definitions import StoredDefinitions
from tidemill.storage.durations import StoredDurations
from tidemill.storage.keeping import StoredKeeping
from tidemill.storage.limits import Limits
from tidemill.storage.outbox import StoredOutbox
from tidemill.storage.replays import StoredReplays
from tidemill.storage.runs import StoredRuns
from tidemill.storage.scheduling import StoredPasts, StoredPools
from tidemill.storage.shards import Shards
from tidemill.storage.sqlite.connection import Session, open_reader, open_writer
from tidemill.storage.sqlite.ledger import SqliteLedger
from tidemill.storage.sqlite.log import SqliteEventLog
from tidemill.storage.sqlite.migrate import migrate
from tidemill.storage.sqlite.reading import SqliteReading
from tidemill.storage.sqlite.writer import Writer, load_positions
from tidemill.storage.subscriptions import StoredSubscriptions
from tidemill.storage.tail import Tail
from tidemill.storage.trees import StoredTrees
from tidemill.storage.waits import StoredWaits

__all__ = ["SqliteStore", "open_store"]

#: Databases up to this size are checked page by page after an unclean stop; larger ones would delay the start.
_CHECKED_BYTES = 256 << 20


class SqliteStore:
    """See `Store`."""

    def __init__(
        self,
        path: Path,
        *,
        lock: int,
        session: Session,
        readers: tuple[Session, Session],
        positions: Any,
        clock: Clock,
        limits: Limits,
        probe: Callable[[str], None] | None,
        data: EventData | None = None,
    ) -> None:
        stage_reader, reader = readers
        self._lock = lock
        self._path = path
        self._data = data
        self._readers = readers
        self._session = session
        self._tail = Tail(positions.head)
        self.shards = Shards()
        self._writer = Writer(
            session, positions, publish=self._publish, resynchronise=self._resynchronise, probe=probe
        )
        self.log = SqliteEventLog(
            path,
            writer=self._writer,
            reading=SqliteReading(stage_reader),
            tail=self._tail,
            clock=clock,
            limits=limits,
            data=data,
        )
        self.ledger = SqliteLedger(writer=self._writer, reader=stage_reader)
        self.runs = StoredRuns(writer=self._writer, reading=SqliteReading(reader), clock=clock, data=data)
        self.admissions = StoredAdmissions(ledger=self.ledger, reading=SqliteReading(stage_reader))
        self.outbox = StoredOutbox(writer=self._writer, reading=SqliteReading(stage_reader), clock=clock)
        self.dead_letters = StoredDeadLetters(
            writer=self._writer, reading=SqliteReading(reader), clock=clock, data=data
        )
        self.subscriptions = StoredSubscriptions(
            writer=self._writer, reading=SqliteReading(stage_reader), clock=clock
        )
        self.trees = StoredTrees(writer=self._writer, reading=SqliteReading(stage_reader), clock=clock)
        self.definitions = StoredDefinitions(writer=self._writer, reading=SqliteReading(reader), clock=clock)
        self.durations = StoredDurations(writer=self._writer, reading=SqliteReading(reader))
        self.cache = StoredCache(writer=self._writer, reading=SqliteReading(stage_reader))
        self.pools = StoredPools(writer=self._writer, reading=SqliteReading(reader), clock=clock)
        self.pasts = StoredPasts(writer=self._writer, reading=SqliteReading(stage_reader))
        self.waits = StoredWaits(
            writer=self._writer, reading=SqliteReading(reader), ledger=self.ledger, clock=clock
        )
        self.approvals = StoredApprovals(
            writer=self._writer,
            reading=SqliteReading(reader),
            clock=clock,
            requests=self.runs.new_requests,
        )
        self.replays = StoredReplays(log=self.log, ledger=self.ledger, writer=self._writer)
        self.keeping = StoredKeeping(
            writer=self._writer, reading=SqliteReading(reader), ledger=self.ledger, data=data
        )

    async def nodes(self) -> list[NodeView]:
        """None: this database belongs to one process."""
        return []

    @property
    def refused_records(self) -> int:
        """None ever: nobody else can take a shard."""
        return 0

    async def close(self) -> None:
        """Commit what was handed in and close."""
        await self._writer.close()
        for reader in self._readers:
            await reader.close()
        if self._data is not None:
            self._data.close()
        _clean_mark(self._path).touch(mode=0o600)
        os.close(self._lock)

    async def abandon(self) -> None:
        """Let go of the database as a crash would: what was handed in is not committed, the stop is not clean.

        For fault injection; a commit that is in flight may still reach the disk.
        """
        await self._writer.abandon()
        for reader in self._readers:
            await reader.close()
        os.close(self._lock)

    def _publish(
        self, logged: Sequence[tuple[LoggedEvent, int]], jobs: Sequence[Job], answers: Sequence[Any]
    ) -> None:
        self._tail.extend(logged)
        for job in jobs:
            if isinstance(job, RouteJob):
                self.runs.new_runs.put(job.batch.runs)
                self.outbox.arrivals.committed(job.batch.deliveries)
                if job.batch.waits:
                    self.waits.hits.put([None])
                if job.batch.admission is not None and job.batch.admission.cancels:
                    self.runs.new_requests.put([None])
            elif changes_subscriptions(job):
                self.subscriptions.changed()

    def _resynchronise(self, head: int) -> None:
        """A commit failed and the database says where the log ends; followers read on from there."""
        if head != self._tail.head:
            self._tail.restart(head)
        self.runs.new_runs.miss()
        self.waits.hits.put([None])
        self.runs.new_requests.put([None])


async def open_store(
    path: Path,
    *,
    clock: Clock,
    limits: Limits | None = None,
    probe: Callable[[str], None] | None = None,
    data: EventData | None = None,
    kind: type[Session] = Session,
) -> SqliteStore:
    """Open the database at `path`, made and migrated as needed, for this process alone.

    Raises `ProjectLocked` when another process has it, `StoreUnavailable` when a page is damaged. `probe` is told
    of every commit point just before and after it, for fault injection; `kind` is what its connections are.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    async with contextlib.AsyncExitStack() as undo:
        lock = _lock(path)
        undo.callback(os.close, lock)
        try:
            session = await open_writer(path, kind)
            undo.push_async_callback(session.close)
            await session.call(_check, session, path)
        except sqlite3.DatabaseError as error:
            if getattr(error, "sqlite_errorname", "").split("_")[1:2] not in (["CORRUPT"], ["NOTADB"]):
                raise
            raise _damaged(path, str(error)) from error
        await session.call(migrate, session.raw)
        positions = await session.call(load_positions, session.raw)
        stage_reader = await open_reader(path, kind)
        undo.push_async_callback(stage_reader.close)
        readers = (stage_reader, await open_reader(path, kind))
        undo.pop_all()
    return SqliteStore(
        path,
        lock=lock,
        session=session,
        readers=readers,
        positions=positions,
        clock=clock,
        limits=limits or Limits(),
        probe=probe,
        data=data,
    )


def _lock(path: Path) -> int:
    descriptor = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise ProjectLocked(f"another process works on {path.name}; stop it first") from None
    return descriptor


def _clean_mark(path: Path) -> Path:
    return path.with_suffix(".clean")


def _check(session: Session, path: Path) -> None:
    """After an unclean stop look at every page; a damaged database is refused, never served."""
    mark = _clean_mark(path)
    clean = mark.exists()
    mark.unlink(missing_ok=True)
    if clean or path.stat().st_size > _CHECKED_BYTES:
        return
    found = [row[0] for row in session.raw.execute("PRAGMA quick_check(5)")]
    if found != ["ok"]:
        raise _damaged(path, "; ".join(found))


def _damaged(path: Path, detail: str) -> StoreUnavailable:
    return StoreUnavailable(f"the database {path.name} is damaged: {detail}; restore a backup")
