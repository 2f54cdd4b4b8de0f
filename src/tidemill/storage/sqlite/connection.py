"""SQLite connections: how they are opened, and one hop into their thread for a whole function.

`aiosqlite` runs each call in the connection's own thread; a hop costs about as much as the fsync it waits for. A
transaction is therefore handed over as one function (`Session.call`) and not statement by statement.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import aiosqlite

__all__ = ["Session", "insert_rows", "open_reader", "open_writer"]

P = ParamSpec("P")
R = TypeVar("R")

#: Rows per INSERT statement. Few large statements instead of many small ones: the interpreter lock is let go
#: once per statement, not once per row, and the event loop keeps running meanwhile.
_CHUNKS = (1024, 256, 64, 16, 4, 1)

_ALWAYS = ("PRAGMA cache_size=-32768", "PRAGMA temp_store=MEMORY", "PRAGMA foreign_keys=ON")
_WRITING = ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL", "PRAGMA wal_autocheckpoint=4000")


class Session(aiosqlite.Connection):
    """An aiosqlite connection that also runs whole functions in its thread."""

    def submit(self, function: Callable[[], R]) -> asyncio.Future[R]:
        """Hand `function` to the connection's thread at once, without waiting for the event loop's next turn."""
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._tx.put_nowait((future, function))
        return future

    async def call(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run `function` in the connection's thread and return what it returns."""
        result: R = await self._execute(function, *args, **kwargs)  # type: ignore[no-untyped-call]
        return result

    @property
    def raw(self) -> sqlite3.Connection:
        """The connection itself, for functions that run in its thread."""
        return self._conn


async def open_writer(path: Path, kind: type[Session] = Session) -> Session:
    """The writing connection: WAL, every commit on disk before it returns."""
    return await _open(path, *_WRITING, kind=kind)


async def open_reader(path: Path, kind: type[Session] = Session) -> Session:
    """A connection that cannot write."""
    return await _open(path, "PRAGMA query_only=ON", kind=kind)


async def _open(path: Path, *statements: str, kind: type[Session]) -> Session:
    def connect() -> sqlite3.Connection:
        # Created by us, so that nobody else can read it, whatever the umask. A file that is there must not be opened
        # and closed here: that would take away every lock that this process's other connections have on it.
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        return sqlite3.connect(path, isolation_level=None, cached_statements=256, timeout=5.0)

    session = kind(connect, 64)
    try:
        await session
        for statement in (*_ALWAYS, *statements):
            await session.execute(statement)
    except BaseException:
        await session.close()  # else its thread would keep the process for ever
        raise
    return session


def insert_rows(connection: sqlite3.Connection, insert: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert all rows with as few statements as possible.

    `insert` ends with `VALUES`; runs in the connection's thread, inside the caller's transaction.
    """
    if not rows:
        return
    width = "(" + ",".join("?" * len(rows[0])) + ")"
    start, left = 0, len(rows)
    for size in _CHUNKS:
        while left >= size:
            statement = insert + ",".join([width] * size)
            if size == 1:
                connection.execute(statement, rows[start])
            else:
                connection.execute(statement, [value for row in rows[start : start + size] for value in row])
            start += size
            left -= size
