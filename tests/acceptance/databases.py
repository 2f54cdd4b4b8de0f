"""Where the service under test keeps its state, looked at from outside: nothing here comes from the package under test.

Evidence is always a SQLite file. On SQLite it is the service's own; what is in PostgreSQL is copied into one of the
same shape, so that one checker judges both.
"""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any, Protocol

import asyncpg
from tests.acceptance.evidence import connect

__all__ = ["Database", "PostgresDatabase", "SqliteDatabase"]

#: What the evidence and the tests read.
_TABLES = (
    "events",
    "cursors",
    "files",
    "dispositions",
    "held_events",
    "definitions",
    "routed_under",
    "runs",
    "history",
    "requests",
    "deliveries",
    "dead_letters",
)
_SQLITE_TYPES = {"bytea": "BLOB", "text": "TEXT", "bigint": "INTEGER", "integer": "INTEGER"}
_CONNECT_SECONDS = 5.0


class Database(Protocol):
    """The state of one service or fleet."""

    async def row(self, query: str) -> tuple[Any, ...]:
        """The one row of a query that both databases understand."""

    async def save(self) -> None:
        """Make sure that the evidence is where it is read; the service must have ended."""


class SqliteDatabase:
    """A file that one process has for itself."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def row(self, query: str) -> tuple[Any, ...]:
        with connect(self._path) as database:
            row: tuple[Any, ...] = database.execute(query).fetchone()
        return row

    async def save(self) -> None:
        with contextlib.closing(sqlite3.connect(self._path)) as database:
            assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


class PostgresDatabase:
    """A database at `url` that nodes share; `copy` is where the evidence is read."""

    def __init__(self, url: str, copy: Path) -> None:
        self._url = url
        self._copy = copy

    async def row(self, query: str) -> tuple[Any, ...]:
        connection = await asyncpg.connect(self._url, timeout=_CONNECT_SECONDS)
        try:
            return tuple(await connection.fetchrow(query))
        finally:
            await connection.close()

    async def save(self) -> None:
        self._copy.parent.mkdir(parents=True, exist_ok=True)
        self._copy.unlink(missing_ok=True)
        connection = await asyncpg.connect(self._url, timeout=_CONNECT_SECONDS)
        try:
            with contextlib.closing(sqlite3.connect(self._copy)) as copy, copy:
                async with connection.transaction(isolation="repeatable_read", readonly=True):
                    for table in _TABLES:
                        await _copy_table(connection, copy, table)
        finally:
            await connection.close()


async def _copy_table(connection: asyncpg.Connection, copy: sqlite3.Connection, table: str) -> None:
    """All rows as they are, in columns of the same names."""
    columns = await connection.fetch(
        "SELECT column_name, data_type FROM information_schema.columns"
        " WHERE table_schema = 'public' AND table_name = $1 ORDER BY ordinal_position",
        table,
    )
    assert columns, f"there is no table {table}"
    shape = ", ".join(f'"{name}" {_SQLITE_TYPES[kind]}' for name, kind in columns)
    copy.execute(f"CREATE TABLE {table} ({shape}) STRICT")
    places = ", ".join("?" * len(columns))
    async for row in connection.cursor(f"SELECT * FROM {table}", prefetch=5000):
        copy.execute(f"INSERT INTO {table} VALUES ({places})", tuple(row))
