"""The one writer: gathers what arrived while the last commit was in flight and commits it at once.

Throughput comes from the batch, latency from never waiting for a timer. Nothing else in the process opens a write
transaction, so that "database is locked" cannot occur.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from tidemill.errors import CursorMoved, DiskFull, StorageError, StoreUnavailable
from tidemill.events.event import LoggedEvent
from tidemill.storage.commit import Job, rows_of
from tidemill.storage.sqlite.connection import Session
from tidemill.storage.sqlite.queries import QUERIES
from tidemill.storage.sqlite.transaction import Positions, Transaction

__all__ = ["Writer", "load_positions"]

logger = logging.getLogger(__name__)

#: Answers of the jobs, events with their sizes, and what went wrong with the database if anything did.
_Written = tuple[list[Any], list[tuple[LoggedEvent, int]], Exception | None]

#: Rows that one commit takes at most, so that a burst does not make everybody wait for one long transaction.
_COMMIT_ROWS = 8192

# The interpreter lock goes to whoever asks first, and an event loop that is never idle asks first again and again:
# measured, a commit of one row then took a second. So the loop steps aside for the writing thread: it waits a moment
# for a small commit, which on a fast disk is all the time that it takes, and for others in short pauses now and then.
_STEP_ASIDE_SECONDS = 0.001
_STEP_ASIDE_ROWS = 256
_PULSE_EVERY_SECONDS = 0.0004
_PULSE_SECONDS = 0.00015


class _Handover:
    """A commit in the connection's thread, for which the event loop steps aside."""

    __slots__ = ("_done",)

    def __init__(self) -> None:
        self._done = threading.Lock()
        self._done.acquire()

    def done(self) -> None:
        """The commit is done or has failed (in the connection's thread)."""
        self._done.release()

    def wait(self, seconds: float) -> bool:
        """Block the event loop for a moment at most; True when the commit is done."""
        return self._done.acquire(timeout=seconds)


class Writer:
    """Owns the writing connection."""

    def __init__(
        self,
        session: Session,
        positions: Positions,
        *,
        publish: Callable[[Sequence[tuple[LoggedEvent, int]], Sequence[Job], Sequence[Any]], None],
        resynchronise: Callable[[int], None],
        probe: Callable[[str], None] | None = None,
    ) -> None:
        self.positions = positions
        self._session = session
        self._publish = publish
        self._resynchronise = resynchronise
        self._probe = probe
        self._pending: list[tuple[Job, asyncio.Future[Any]]] = []
        self._arrived: asyncio.Future[None] | None = None
        self._closing = False
        self._pulse_handle: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._run(), name="writer")

    @property
    def waiting(self) -> int:
        """Jobs that wait for the next commit."""
        return len(self._pending)

    def submit(self, job: Job) -> asyncio.Future[Any]:
        """Hand a job in; the future ends when it is on disk, or with its error."""
        future: asyncio.Future[Any] = self._loop.create_future()
        if self._closing:
            future.set_exception(StoreUnavailable("the store is closed"))
            return future
        self._pending.append((job, future))
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)
        return future

    async def close(self) -> None:
        """Commit what was handed in, then close the connection."""
        self._closing = True
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)
        await self._task
        await self._session.close()

    async def abandon(self) -> None:
        """Drop what was handed in and close the connection; an open transaction is rolled back."""
        self._closing = True
        self._pending.clear()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._session.close()

    async def _run(self) -> None:
        while True:
            if not self._pending:
                if self._closing:
                    return
                self._arrived = self._loop.create_future()
                await self._arrived
                continue
            batch, size = self._take()
            handover = _Handover()
            committing = self._session.submit(partial(self._write, [job for job, _ in batch], handover))
            if size > _STEP_ASIDE_ROWS or not handover.wait(_STEP_ASIDE_SECONDS):
                self._plan_pulse(handover)
            try:
                answers, logged, error = await committing
            finally:
                if self._pulse_handle is not None:
                    self._pulse_handle.cancel()
                    self._pulse_handle = None
            self._answer(batch, answers, logged, error)

    def _take(self) -> tuple[list[tuple[Job, asyncio.Future[Any]]], int]:
        rows = 0
        for count, (job, _) in enumerate(self._pending, 1):
            rows += rows_of(job)
            if rows >= _COMMIT_ROWS:
                batch, self._pending = self._pending[:count], self._pending[count:]
                return batch, rows
        batch, self._pending = self._pending, []
        return batch, rows

    def _plan_pulse(self, handover: _Handover) -> None:
        self._pulse_handle = self._loop.call_later(_PULSE_EVERY_SECONDS, self._pulse, handover)

    def _pulse(self, handover: _Handover) -> None:
        if not handover.wait(_PULSE_SECONDS):
            self._plan_pulse(handover)

    def _answer(
        self,
        batch: list[tuple[Job, asyncio.Future[Any]]],
        answers: list[Any],
        logged: list[tuple[LoggedEvent, int]],
        error: Exception | None,
    ) -> None:
        if error is not None:
            logger.error("store.commit_failed", extra={"error": str(error)})
            self._resynchronise(self.positions.head)
        done = [index for index, answer in enumerate(answers) if not isinstance(answer, Exception)]
        self._publish(logged, [batch[index][0] for index in done], [answers[index] for index in done])
        for (_, future), answer in zip(batch, answers, strict=True):
            if future.done():
                continue
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)

    # ── in the connection's thread ──

    def _write(self, jobs: list[Job], handover: _Handover) -> _Written:
        try:
            return self._commit(jobs)
        finally:
            handover.done()

    def _commit(self, jobs: list[Job]) -> _Written:
        transaction = Transaction(self._session.raw, self.positions)
        try:
            answers = transaction.run(jobs, self._probe)
        except Exception as error:
            self._roll_back()
            if isinstance(error, sqlite3.IntegrityError) or not isinstance(error, sqlite3.Error | OSError):
                return self._one_by_one(jobs, error)
            failure = _translate(error)
            return [failure] * len(jobs), [], failure
        return answers, transaction.commit.logged, None

    def _one_by_one(self, jobs: list[Job], cause: Exception) -> _Written:
        """One job cannot be written: find it, and commit the others."""
        if len(jobs) == 1:
            # A broken constraint means that a second writer of the same run or cursor was there first.
            conflict = isinstance(cause, sqlite3.IntegrityError)
            return [CursorMoved(str(cause), None, None) if conflict else cause], [], None
        answers: list[Any] = []
        logged: list[tuple[LoggedEvent, int]] = []
        failure: Exception | None = None
        for job in jobs:
            answer, events, error = self._commit([job])
            answers += answer
            logged += events
            failure = failure or error
        return answers, logged, failure

    def _roll_back(self) -> None:
        connection = self._session.raw
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            # The commit's answer may have been lost: ask the database what is true.
            fresh = load_positions(connection)
        except sqlite3.Error:
            return  # as unreachable as before; the next commit tells
        self.positions.head = fresh.head
        self.positions.run_number = fresh.run_number
        self.positions.cursors = fresh.cursors
        self.positions.numbers = {}


def load_positions(connection: sqlite3.Connection) -> Positions:
    """What the writer must know, read from the database."""
    (head,) = connection.execute(QUERIES["head"]).fetchone()
    (number,) = connection.execute(QUERIES["last_run_number"]).fetchone()
    return Positions(head, number, dict(connection.execute(QUERIES["all_cursors"]).fetchall()))


def _translate(error: Exception) -> StorageError:
    name = getattr(error, "sqlite_errorname", "")
    if name == "SQLITE_FULL" or getattr(error, "errno", None) == 28:
        return DiskFull("the disk is full; make room, nothing was stored")
    return StoreUnavailable(f"the database refused the commit ({name or type(error).__name__}: {error})")
