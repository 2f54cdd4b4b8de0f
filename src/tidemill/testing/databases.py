"""The database that a test has to itself, of either kind: how it is opened, how it fails, how a crash leaves it.

What a fault leaves behind is waited for in real time here, so that no virtual time passes meanwhile.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from tidemill.clock import Clock
from tidemill.storage.sqlite.store import SqliteStore, open_store
from tidemill.testing.faults import DiskIsFull
from tidemill.testing.inline import InlineSession

if TYPE_CHECKING:
    from tidemill.storage.postgres.store import PostgresStore

__all__ = ["OwnStore", "abandon", "open_own", "settle", "wrong_at"]

OwnStore: TypeAlias = "SqliteStore | PostgresStore"

#: Longest real time that a server takes to end a session, in milliseconds.
_END_MILLISECONDS = 10_000


async def open_own(
    file: Path, url: str | None, *, clock: Clock, probe: Callable[[str], None] | None = None
) -> OwnStore:
    """The PostgreSQL database at `url`, which nobody else may work on; without one the SQLite database `file`."""
    if url is None:
        return await open_store(file, clock=clock, probe=probe, kind=InlineSession)
    from tidemill.storage.postgres.store import open_store as open_postgres

    return await open_postgres(url, clock=clock, probe=probe, alone=True)


def wrong_at(point: str, url: str | None, cause: sqlite3.OperationalError) -> Exception:
    """What a commit point raises where the database fails: before the commit a refusal, after it a lost answer."""
    if url is None:
        return cause
    import asyncpg

    if isinstance(cause, DiskIsFull):
        full: Exception = asyncpg.DiskFullError(str(cause))
        return full
    if point.endswith(".before_commit"):
        refusal: Exception = asyncpg.PostgresIOError("could not write to file: Input/output error")
        return refusal
    return ConnectionResetError("connection reset by peer")


async def settle(store: OwnStore) -> None:
    """Return when the store knows what was committed although nobody was told.

    SQLite knows at once; on PostgreSQL a look each second finds it, and that look is made now.
    """
    if not isinstance(store, SqliteStore):
        await store.look_around()


async def abandon(store: OwnStore, url: str | None) -> None:
    """Let go of the database as a crash would; on return what was in flight is committed or will never be."""
    if isinstance(store, SqliteStore):
        await store.abandon()
        return
    import asyncpg

    session = store.session
    await store.abandon()
    if session is None:
        return
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(f"SELECT pg_terminate_backend({session}, {_END_MILLISECONDS})")
    finally:
        await connection.close()
