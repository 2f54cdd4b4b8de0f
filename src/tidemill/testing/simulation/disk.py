"""A disk in memory that outlives the processes on it, and sessions that answer in simulated time.

What is committed is on the disk, whatever becomes of the process; what was handed in and not made yet is gone with it.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from types import TracebackType
from typing import Any, Self, TypeVar

from tidemill.storage.sqlite.migrate import migrate
from tidemill.testing.simulation.faults import Faults
from tidemill.testing.simulation.loop import SimulatedLoop
from tidemill.testing.simulation.process import Process

__all__ = ["Commit", "Disk", "SimulatedSession"]

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Commit:
    """What was on the disk after one commit, as far as rows are only ever added."""

    #: Microseconds since the beginning.
    at_us: int
    #: Number of the process.
    process: int
    events: int
    history: int
    runs: int


@cache
def _empty() -> bytes:
    """A database without rows."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection)
    image = connection.serialize()
    connection.close()
    return image


class Disk:
    """One database."""

    def __init__(self, loop: SimulatedLoop, faults: Faults) -> None:
        self.loop = loop
        self.faults = faults
        self.commits: list[Commit] = []
        self.connection = sqlite3.connect(":memory:", isolation_level=None, cached_statements=256)
        self.connection.deserialize(_empty())
        self.connection.execute("PRAGMA foreign_keys=ON")

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """What a query finds on the disk now."""
        return self.connection.execute(query, values).fetchall()

    def committed(self, process: int) -> None:
        """Note what is on the disk."""
        query = (
            "SELECT (SELECT max(position) FROM events), (SELECT max(rowid) FROM history),"
            " (SELECT max(number) FROM runs)"
        )
        events, history, runs = self.connection.execute(query).fetchone()
        self.commits.append(Commit(self.loop.now_us, process, events or 0, history or 0, runs or 0))
        self.loop.note(f"commit {events} {history} {runs}\n")

    def close(self) -> None:
        """Throw the disk away."""
        self.connection.close()


class SimulatedSession:
    """Stands in for `storage.sqlite.connection.Session`: one process's way to the disk."""

    def __init__(self, disk: Disk, process: Process) -> None:
        self._disk = disk
        self._process = process

    @property
    def raw(self) -> sqlite3.Connection:
        """The connection itself."""
        return self._disk.connection

    def submit(self, function: Callable[[], R]) -> asyncio.Future[R]:
        """Make a commit after a while, and answer after another while."""
        loop = self._disk.loop
        future: asyncio.Future[R] = loop.create_future()
        before, after = self._disk.faults.commit_us()
        loop.call_at_us(loop.now_us + before, self._make, function, future, after)
        return future

    def _make(self, function: Callable[[], R], future: asyncio.Future[R], after: int) -> None:
        disk = self._disk
        disk.faults.draw_commit(disk.loop.now_us)
        result = function()
        disk.committed(self._process.number)
        disk.loop.call_at_us(disk.loop.now_us + after, _answer, future, result)

    def execute(self, query: str, values: Iterable[Any] = ()) -> _Cursor:
        """Read row by row."""
        return _Cursor(self, query, list(values))

    async def execute_fetchall(self, query: str, values: Iterable[Any] = ()) -> list[tuple[Any, ...]]:
        """Read everything."""
        delay, at_once = self._disk.faults.read_us()
        found: Sequence[tuple[Any, ...]] | None = None
        if at_once:
            found = self._disk.connection.execute(query, list(values)).fetchall()
        answered = self._disk.loop.create_future()
        self._disk.loop.call_at_us(self._disk.loop.now_us + delay, _answer, answered, None)
        await answered
        if found is None:
            found = self._disk.connection.execute(query, list(values)).fetchall()
        return list(found)

    async def close(self) -> None:
        """Nothing to let go of."""


class _Cursor:
    def __init__(self, session: SimulatedSession, query: str, values: list[Any]) -> None:
        self._session, self._query, self._values = session, query, values

    async def __aenter__(self) -> Self:
        self._rows = await self._session.execute_fetchall(self._query, self._values)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        pass

    async def __aiter__(self) -> AsyncIterator[tuple[Any, ...]]:
        for row in self._rows:
            yield row


def _answer(future: asyncio.Future[Any], result: Any) -> None:
    if not future.done():
        future.set_result(result)
