"""The one writer of this process: gathers what arrived while the last commit was in flight and commits it at once.

1. One session writes; the advisory locks by which this node owns shards are that session's. A lost session is a lost
   ownership, told (`on_lost`) before any job is answered.
2. Records of runs carry the shard and the epoch they were decided under; those of an epoch that has passed are refused
   and counted, whatever the database would say.
3. While there is no session jobs fail at once, and whoever handed them in tries again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import asyncpg

from tidemill.errors import CursorMoved, ShardLost, StorageError, StoreUnavailable
from tidemill.storage.commit import Commit, Job, RecordJob, rows_of
from tidemill.storage.postgres.connection import AILING, LOST, connect, translate
from tidemill.storage.postgres.queries import QUERIES
from tidemill.storage.postgres.transaction import transact

__all__ = ["Writer"]

logger = logging.getLogger(__name__)

R = TypeVar("R")

_COMMIT_ROWS = 8192
_RECONNECT_SECONDS = 0.2
_CLOSE_SECONDS = 5.0
#: Tries of a commit that the database broke off because of another one.
_CONFLICT_TRIES = 5
#: An answer that took longer than this may lie here since before we were stopped: others may have our shards by now.
_DOUBT_SECONDS = 1.0
#: Short names of runs kept in memory.
_KEPT_NUMBERS = 50_000

_Call = Callable[[asyncpg.Connection], Awaitable[Any]]
_Pending = tuple[Job | _Call, "asyncio.Future[Any]"]


class Writer:
    """Owns the writing session."""

    def __init__(
        self,
        url: str,
        connection: asyncpg.Connection,
        *,
        publish: Callable[[Commit, Sequence[Job]], None],
        on_lost: Callable[[], None],
        on_connected: Callable[[], None],
        probe: Callable[[str], None] | None = None,
    ) -> None:
        #: Epoch of each owned shard; records of others are refused.
        self.epochs: dict[int, int] = {}
        #: Records refused because their shard was lost.
        self.refused = 0
        self._url = url
        self._connection: asyncpg.Connection | None = connection
        self._publish = publish
        self._on_lost = on_lost
        self._on_connected = on_connected
        self._probe = probe
        self._numbers: dict[str, int] = {}
        self._pending: list[_Pending] = []
        self._arrived: asyncio.Future[None] | None = None
        self._closing = False
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._run(), name="writer")
        self._watch(connection)

    @property
    def waiting(self) -> int:
        """Jobs that wait for the next commit."""
        return len(self._pending)

    @property
    def session(self) -> int | None:
        """Process id of the session's backend, None while there is no session."""
        return None if self._connection is None else self._connection.get_server_pid()

    def submit(self, job: Job) -> asyncio.Future[Any]:
        """Hand a job in; the future ends when it is on disk, or with its error."""
        return self._hand_in(job)

    async def call(self, function: Callable[[asyncpg.Connection], Awaitable[R]]) -> R:
        """Run `function` on the session between two commits; raises `StoreUnavailable` when there is none."""
        answer: R = await self._hand_in(function)
        return answer

    def _hand_in(self, work: Job | _Call) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = self._loop.create_future()
        if self._closing:
            future.set_exception(StoreUnavailable("the store is closed"))
            return future
        self._pending.append((work, future))
        self._wake()
        return future

    def _wake(self) -> None:
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)

    async def close(self) -> None:
        """Commit what was handed in, then end the session."""
        self._closing = True
        self._wake()
        await self._task
        if self._connection is not None:
            with contextlib.suppress(*LOST, TimeoutError):  # a server that does not answer ends it later
                await self._connection.close(timeout=_CLOSE_SECONDS)

    async def abandon(self) -> None:
        """Drop what was handed in and cut the session, as a crash would."""
        self._closing = True
        self._pending.clear()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        if self._connection is not None:
            self._connection.terminate()

    # ── the session ──

    def _watch(self, connection: asyncpg.Connection) -> None:
        connection.add_termination_listener(self._terminated)

    def _terminated(self, connection: asyncpg.Connection) -> None:
        if connection is self._connection and not self._closing:
            self._lose()
            self._wake()

    def _lose(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        connection.terminate()
        self.epochs = {}
        logger.error("store.session_lost")
        try:
            self._on_lost()
        except Exception as error:  # a listener's mistake must not end the writer
            logger.exception("store.commit_failed", extra={"error": repr(error)})

    async def _connect(self) -> bool:
        try:
            connection = await connect(self._url)
        except (*LOST, asyncpg.PostgresError, TimeoutError) as error:
            logger.warning("store.unreachable", extra={"error": str(error)})
            return False
        self._connection = connection
        self._watch(connection)
        logger.info("store.session_opened")
        self._on_connected()
        return True

    # ── committing ──

    async def _run(self) -> None:
        while True:
            if self._connection is None and (self._closing or not await self._connect()):
                self._fail_pending()
                if self._closing:
                    return
                await asyncio.sleep(_RECONNECT_SECONDS)
                continue
            if not self._pending:
                if self._closing:
                    return
                self._arrived = self._loop.create_future()
                await self._arrived
                continue
            batch, call = self._take()
            if call is not None:
                await self._make(*call)
            if batch:
                answers = await self._write_or_fail([job for job, _ in batch])
                for (_, future), answer in zip(batch, answers, strict=True):
                    _settle(future, answer)

    def _fail_pending(self) -> None:
        pending, self._pending = self._pending, []
        for _, future in pending:
            _settle(future, StoreUnavailable("the database cannot be reached; try again"))

    def _take(self) -> tuple[list[tuple[Job, asyncio.Future[Any]]], tuple[_Call, asyncio.Future[Any]] | None]:
        """The jobs of the next commit, and a call that comes first; jobs keep their order around calls."""
        batch: list[tuple[Job, asyncio.Future[Any]]] = []
        rows = 0
        for place, (work, future) in enumerate(self._pending):
            if callable(work):
                if batch:
                    self._pending = self._pending[place:]
                    return batch, None
                self._pending = self._pending[1:]
                return [], (work, future)
            batch.append((work, future))
            rows += rows_of(work)
            if rows >= _COMMIT_ROWS:
                self._pending = self._pending[place + 1 :]
                return batch, None
        self._pending = []
        return batch, None

    async def _make(self, function: _Call, future: asyncio.Future[Any]) -> None:
        connection = self._connection
        if connection is None:
            _settle(future, StoreUnavailable("the database cannot be reached; try again"))
            return
        try:
            _settle(future, await function(connection))
        except (*LOST, TimeoutError) as error:
            self._lose()
            _settle(future, translate(error))
        except (asyncpg.PostgresError, StorageError) as error:
            _settle(future, translate(error))
        except Exception as error:  # a mistake of its caller's, who must see it; the writer goes on
            if connection.is_in_transaction():
                self._lose()
            _settle(future, error)

    async def _write_or_fail(self, jobs: list[Job]) -> list[Any]:
        try:
            return await self._write(jobs)
        except Exception as error:  # a mistake of ours must not leave anybody waiting for ever
            logger.exception("store.commit_failed", extra={"error": repr(error)})
            return [StorageError(f"the commit failed: {error!r}")] * len(jobs)

    async def _write(self, jobs: list[Job]) -> list[Any]:
        answers: list[Any] = [self._refusal(job) for job in jobs]
        going = [place for place, answer in enumerate(answers) if answer is None]
        if going:
            for place, answer in zip(
                going, await self._commit([jobs[place] for place in going]), strict=True
            ):
                answers[place] = answer
        return answers

    def _refusal(self, job: Job) -> ShardLost | None:
        if not isinstance(job, RecordJob) or job.fence is None:
            return None
        lost = frozenset(shard for shard, epoch in job.fence if self.epochs.get(shard) != epoch)
        if not lost:
            return None
        self.refused += len(job.recorded)
        return ShardLost(lost)

    async def _commit(self, jobs: list[Job]) -> list[Any]:
        for tries_left in reversed(range(_CONFLICT_TRIES)):
            connection = self._connection
            if connection is None:
                return [StoreUnavailable("the session was lost; try again")] * len(jobs)
            begun = time.monotonic()
            try:
                answers, commit = await transact(connection, jobs, self._numbers, self._probe)
            except (asyncpg.DeadlockDetectedError, asyncpg.SerializationError) as error:
                if not tries_left:
                    return [translate(error)] * len(jobs)
            except (*LOST, TimeoutError) as error:
                self._lose()
                return [translate(error)] * len(jobs)
            except AILING as error:
                return [translate(error)] * len(jobs)
            except (asyncpg.PostgresError, ValueError, TypeError) as error:  # something in one of the jobs
                return await self._one_by_one(jobs, error)
            except Exception as error:  # whether it was committed nobody knows
                logger.exception("store.commit_failed", extra={"error": repr(error)})
                self._lose()
                return [translate(error)] * len(jobs)
            else:
                if time.monotonic() - begun > _DOUBT_SECONDS:
                    await self._make_sure(connection)
                self._adopt(commit)
                done = [
                    job
                    for job, answer in zip(jobs, answers, strict=True)
                    if not isinstance(answer, Exception)
                ]
                self._publish(commit, done)
                return answers
        raise AssertionError

    async def _make_sure(self, connection: asyncpg.Connection) -> None:
        """Ask whether the session is still there; if not, lose it before anybody acts on what was committed."""
        try:
            await connection.execute(QUERIES["session"])
        except (*LOST, asyncpg.PostgresError, TimeoutError):
            if connection is self._connection:
                self._lose()

    async def _one_by_one(self, jobs: list[Job], cause: Exception) -> list[Any]:
        """One job cannot be written: find it, and commit the others."""
        if len(jobs) == 1:
            # A broken constraint means that a second writer of the same run or cursor was there first.
            if isinstance(cause, asyncpg.UniqueViolationError):
                return [CursorMoved(str(cause), None, None)]
            return [translate(cause)]
        answers: list[Any] = []
        for job in jobs:
            answers += await self._commit([job])
        return answers

    def _adopt(self, commit: Commit) -> None:
        numbers = self._numbers
        numbers.update(commit.numbers)
        for run in commit.ended:
            numbers.pop(run, None)
        while len(numbers) > _KEPT_NUMBERS:
            numbers.pop(next(iter(numbers)))


def _settle(future: asyncio.Future[Any], answer: Any) -> None:
    if future.done():
        return
    if isinstance(answer, BaseException):
        future.set_exception(answer)
    else:
        future.set_result(answer)
