"""Moving a project's whole state from SQLite to PostgreSQL: table by table, in the order of the primary key.

1. The SQLite file is only read, and locked as a running service would lock it: nothing changes under the copy.
2. How far a table is copied is kept in the target, in the transaction of the rows: killed at any point, the next call
   goes on from there and copies nothing twice.
3. At the end every table is compared, count and checksum; only then the target counts as complete and can be served.
"""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg

from tidemill.clock import SystemClock
from tidemill.errors import SettingsError, StorageError
from tidemill.ids import shard_of
from tidemill.storage.postgres.queries import QUERIES
from tidemill.storage.postgres.store import open_target
from tidemill.storage.sqlite import open_store as open_sqlite

__all__ = ["transfer"]

_PAGE = 2000


@dataclass(frozen=True, slots=True)
class _Table:
    name: str
    columns: tuple[str, ...]
    #: Columns whose values order the rows, each row once.
    key: tuple[str, ...]


_TABLES = (
    _Table("events", ("position", "key", "digest", "received_at", "type", "source", "body"), ("position",)),
    _Table("identities", ("key", "digest", "position", "received_at"), ("key",)),
    _Table("cursors", ("name", "value"), ("name",)),
    _Table("definitions", ("version", "saved_at", "written"), ("version",)),
    _Table("routed_under", ("position", "version", "at"), ("position",)),
    _Table(
        "files",
        ("source", "path", "inode", "size", "mtime_ns", "digest"),
        ("source", "path", "inode", "size", "mtime_ns"),
    ),
    _Table("dispositions", ("position", "trigger", "kind", "run_id", "detail"), ("position", "trigger")),
    _Table(
        "runs",
        (
            "number",
            "run_id",
            "dag",
            "version",
            "state",
            "trigger",
            "position",
            "event_source",
            "event_id",
            "parameters",
            "queued_at",
            "started_at",
            "ended_at",
            "correlation_id",
            "hop_count",
            "traceparent",
            "admission",
            "shard",
        ),
        ("number",),
    ),
    _Table("history", ("run", "sequence", "at", "body"), ("run", "sequence")),
    _Table("requests", ("id", "run_id", "kind", "at", "by"), ("id",)),
    _Table(
        "deliveries",
        ("subscription", "position", "state", "attempts", "due_at", "detail", "letter"),
        ("position", "subscription"),
    ),
    _Table(
        "dead_letters",
        ("id", "at", "stage", "code", "detail", "origin", "coordinates", "body", "position", "state"),
        ("id",),
    ),
    _Table(
        "dead_letter_actions",
        ("letter", "number", "at", "by", "kind", "reason", "detail", "body"),
        ("letter", "number"),
    ),
    _Table("subscriptions", ("position", "id", "body"), ("position",)),
    _Table(
        "subscription_states",
        ("subscription", "state", "reason", "by", "at", "redriven", "version"),
        ("subscription",),
    ),
    _Table(
        "delivery_attempts",
        (
            "subscription",
            "slot",
            "number",
            "position",
            "attempt",
            "at",
            "duration_us",
            "outcome",
            "status",
            "error",
        ),
        ("subscription", "slot"),
    ),
    _Table("tree_runs", ("correlation_id", "run_id", "done"), ("correlation_id", "run_id")),
    _Table("held_events", ("position", "trigger", "stage", "key", "body"), ("position", "trigger")),
    _Table("admission_memory", ("trigger", "stage", "key", "until", "body"), ("trigger", "stage", "key")),
    _Table("pools", ("name", "slots", "by", "at"), ("name",)),
    _Table("past_outcomes", ("dag", "task", "run_id", "state"), ("dag", "task", "run_id")),
    _Table("task_durations", ("dag", "task", "at", "body"), ("dag", "task")),
    _Table("task_cache", ("key", "dag", "task", "run_id", "at", "result"), ("key",)),
    _Table("result_holds", ("held", "run_id"), ("held", "run_id")),
    _Table("quarantined", ("run_id", "at"), ("run_id",)),
    _Table(
        "versions",
        ("dag", "version", "file", "source", "graph", "modules", "saved_at"),
        ("dag", "version"),
    ),
    _Table("module_texts", ("digest", "text"), ("digest",)),
    _Table(
        "waits",
        ("run_id", "task", "kind", "due_at", "pattern", "key", "since", "routed", "from_at"),
        ("run_id", "task"),
    ),
    _Table("wait_patterns", ("pattern", "body"), ("pattern",)),
    _Table("wait_hits", ("key", "position"), ("key", "position")),
    _Table(
        "approvals",
        (
            "id",
            "run_id",
            "dag",
            "task",
            "state",
            "title",
            "form",
            "assignees",
            "quorum",
            "asked_at",
            "due_at",
            "ended_at",
        ),
        ("id",),
    ),
    _Table("approval_decisions", ("approval", "by", "decision", "at", "via", "data"), ("approval", "by")),
)
_DONE = "transfer.complete"


async def transfer(
    source: Path, url: str, *, project: str, tell: Callable[[str, int], None] = lambda table, rows: None
) -> dict[str, int]:
    """Copy everything at `source` into the database at `url` and compare; rows per table.

    Raises `ProjectLocked` while a service uses `source`, `SettingsError` for a target that holds other state, and
    `StorageError` when a table differs afterwards. Durable, and ready to be served, on return.
    """
    if not await asyncio.to_thread(source.is_file):
        raise SettingsError(f"--from: there is no file {source}")
    closed = await open_sqlite(source, clock=SystemClock())  # locks, checks and migrates it
    try:
        connection = await open_target(url, project)
        try:
            return await _copy(source, connection, tell)
        finally:
            await connection.close()
    finally:
        await closed.close()


async def _copy(
    source: Path, connection: asyncpg.Connection, tell: Callable[[str, int], None]
) -> dict[str, int]:
    await connection.execute(
        "CREATE TABLE IF NOT EXISTS transfer (name TEXT PRIMARY KEY, rows BIGINT NOT NULL)"
    )
    await _refuse_served(connection)
    if not await connection.fetchval("SELECT count(*) FROM transfer"):
        await _refuse_used(connection)
    rows = _open(source)
    try:
        counts: dict[str, int] = {}
        for table in _TABLES:
            counts[table.name] = await _copy_table(rows, connection, table)
            tell(table.name, counts[table.name])
        await _set_counters(connection)
        for table in _TABLES:
            await _compare(rows, connection, table)
    finally:
        rows.close()
    await connection.execute("INSERT INTO transfer VALUES ($1, 0) ON CONFLICT DO NOTHING", _DONE)
    return counts


def _open(source: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True)


async def _refuse_served(connection: asyncpg.Connection) -> None:
    """A node that works here gives positions; setting them back under it would stop it."""
    if await connection.fetchval("SELECT EXISTS (SELECT FROM transfer WHERE name = $1)", _DONE):
        raise SettingsError(
            "database: the copy into it is complete and it may have been served since; there is nothing left to copy"
        )
    nodes = await connection.fetch(QUERIES["nodes"])
    if working := sorted(node for node, _, _, is_alive, _ in nodes if is_alive):
        raise SettingsError(f"database: node {working[0]} works on it; stop every node, then copy")


async def _refuse_used(connection: asyncpg.Connection) -> None:
    for table in _TABLES:
        query = f"SELECT EXISTS (SELECT FROM {table.name})"  # noqa: S608 - names are constants
        if await connection.fetchval(query):
            raise SettingsError(f"database: it holds {table.name} already; copy into an empty database")


async def _copy_table(rows: sqlite3.Connection, connection: asyncpg.Connection, table: _Table) -> int:
    done = await connection.fetchval("SELECT rows FROM transfer WHERE name = $1", table.name) or 0
    for page in _pages(rows, table, skip=done):
        async with connection.transaction():
            await connection.copy_records_to_table(table.name, records=page, columns=table.columns)
            done += len(page)
            await connection.execute(
                "INSERT INTO transfer VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET rows = excluded.rows",
                table.name,
                done,
            )
    return int(done)


def _pages(rows: sqlite3.Connection, table: _Table, *, skip: int = 0) -> Iterator[list[tuple[Any, ...]]]:
    order = ", ".join(table.key)
    columns = ", ".join(table.columns)
    query = f"SELECT {columns} FROM {table.name} ORDER BY {order} LIMIT -1 OFFSET ?"  # noqa: S608 - constants
    cursor = rows.execute(query, (skip,))
    while page := cursor.fetchmany(_PAGE):
        yield [_as_stored(table, row) for row in page]


def _as_stored(table: _Table, row: Sequence[Any]) -> tuple[Any, ...]:
    """The row as PostgreSQL keeps it: texts without NUL, runs with the shard that they belong to."""
    values = [value.replace("\0", "\\0") if isinstance(value, str) else value for value in row]
    if table.name == "runs":
        values[-1] = shard_of(values[2])  # by DAG: right for limits, and any shard is some node's
    return tuple(values)


async def _set_counters(connection: asyncpg.Connection) -> None:
    await connection.execute("UPDATE waits SET shard = runs.shard FROM runs WHERE runs.run_id = waits.run_id")
    await connection.execute(
        "UPDATE tickets SET value = (SELECT coalesce(max(position), 0) FROM events) WHERE name = 'events'"
    )
    await connection.execute(
        "SELECT setval('run_numbers', (SELECT coalesce(max(number), 0) + 1 FROM runs), false)"
    )
    await connection.execute(
        "SELECT setval(pg_get_serial_sequence('requests', 'id'),"
        " (SELECT coalesce(max(id), 0) + 1 FROM requests), false)"
    )


async def _compare(rows: sqlite3.Connection, connection: asyncpg.Connection, table: _Table) -> None:
    ours = _Sum()
    for page in _pages(rows, table):
        ours.add(page)
    theirs = _Sum()
    async with connection.transaction():
        query = f"SELECT {', '.join(table.columns)} FROM {table.name}"  # noqa: S608 - names are constants
        page = []
        async for row in connection.cursor(query, prefetch=_PAGE):
            page.append(tuple(row))
            if len(page) >= _PAGE:
                theirs.add(page)
                page = []
        theirs.add(page)
    if (ours.count, ours.value) != (theirs.count, theirs.value):
        raise StorageError(
            f"table {table.name} differs after the copy ({ours.count} rows and {theirs.count}); "
            "drop the target database and copy again"
        )


class _Sum:
    """A checksum of rows that does not depend on their order."""

    def __init__(self) -> None:
        self.count = 0
        self.value = 0

    def add(self, page: Sequence[tuple[Any, ...]]) -> None:
        for row in page:
            digest = hashlib.blake2b(repr(row).encode("utf-8", "backslashreplace"), digest_size=16).digest()
            self.value ^= int.from_bytes(digest, "big")
        self.count += len(page)
