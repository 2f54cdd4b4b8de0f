"""Both databases keep the same: tables, columns, which may be empty, what identifies a row."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg
import pytest

from tidemill.clock import SystemClock
from tidemill.errors import SettingsError, StorageError
from tidemill.storage.postgres import open_store as open_postgres
from tidemill.storage.sqlite import open_store as open_sqlite

pytestmark = pytest.mark.postgres

#: What only a database needs that several processes share.
_SHARED_ONLY = {"nodes", "shards", "tickets", "schema_version"}
_TYPES = {"bigint": "INTEGER", "text": "TEXT", "bytea": "BLOB"}

Column = tuple[str, str, bool]
Schema = dict[str, tuple[set[Column], set[tuple[str, ...]]]]


async def _of_sqlite(path: Path) -> Schema:
    store = await open_sqlite(path, clock=SystemClock())
    await store.close()
    import sqlite3

    database = sqlite3.connect(path)
    names = [
        name
        for (name,) in database.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        )
    ]
    found: Schema = {}
    for table in names:
        rows = list(database.execute(f"PRAGMA table_info({table})"))
        columns = {(name, kind, bool(required or key)) for _, name, kind, required, _, key in rows}
        keys = {tuple(row[1] for row in sorted(rows, key=lambda row: row[5]) if row[5])} - {()}
        for _, index, unique, origin, _ in database.execute(f"PRAGMA index_list({table})"):
            if unique and origin == "c":
                keys.add(tuple(row[2] for row in database.execute(f"PRAGMA index_info({index})")))
        found[table] = (columns, keys)
    database.close()
    return found


async def _of_postgres(url: str) -> Schema:
    connection = await asyncpg.connect(url)
    rows = await connection.fetch(
        "SELECT table_name, column_name, data_type, is_nullable = 'NO' FROM information_schema.columns"
        " WHERE table_schema = 'public'"
    )
    found: Schema = {}
    for table, column, kind, required in rows:
        found.setdefault(table, (set(), set()))[0].add((column, _TYPES.get(kind, kind), required))
    keys = await connection.fetch(
        "SELECT indrelid::regclass::text, ARRAY(SELECT attname::text FROM"
        " unnest(indkey) WITH ORDINALITY AS k (n, place)"
        " JOIN pg_attribute ON attrelid = indrelid AND attnum = n ORDER BY place)"
        " FROM pg_index JOIN pg_class ON pg_class.oid = indrelid"
        " WHERE indisunique AND relnamespace = 'public'::regnamespace"
    )
    for table, columns in keys:
        found[table][1].add(tuple(columns))
    await connection.close()
    return found


async def test_both_databases_have_the_same_tables(tmp_path: Path, postgres_url: str) -> None:
    sqlite, postgres = await _of_sqlite(tmp_path / "t.db"), await _of_postgres(postgres_url)

    assert set(postgres) - set(sqlite) == _SHARED_ONLY
    for table, (columns, keys) in sqlite.items():
        assert postgres[table] == (columns, keys), table


async def test_many_nodes_may_start_at_once_on_an_empty_database(postgres_server, postgres_url: str) -> None:  # type: ignore[no-untyped-def]
    url = await asyncio.to_thread(postgres_server.create_database, "fresh_for_many")

    stores = await asyncio.gather(*(open_postgres(url, clock=SystemClock()) for _ in range(4)))

    assert {store.log.head for store in stores} == {0}
    for store in stores:
        await store.close()


async def test_a_database_of_a_newer_version_is_refused(postgres_url: str) -> None:
    connection = await asyncpg.connect(postgres_url)
    await connection.execute("INSERT INTO schema_version VALUES (999)")
    await connection.close()

    with pytest.raises(StorageError, match="version 999"):
        await open_postgres(postgres_url, clock=SystemClock())


async def test_a_database_of_another_project_is_refused(postgres_url: str) -> None:
    with pytest.raises(SettingsError, match="state of project 'tidemill', not of 'other'"):
        await open_postgres(postgres_url, clock=SystemClock(), project="other")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda url: url.rpartition("/")[0] + "/nowhere", "does not exist"),
        (lambda url: "postgresql://postgres@127.0.0.1:9/x", "cannot be reached"),
        (lambda url: "postgresql://postgres@127.0.0.1:none/x", "not a usable address"),
    ],
)
async def test_a_database_that_cannot_be_used_is_told_in_one_sentence(  # type: ignore[no-untyped-def]
    postgres_url: str, change, says: str
) -> None:
    with pytest.raises(SettingsError, match=says) as refused:
        await open_postgres(change(postgres_url), clock=SystemClock())

    assert str(refused.value).startswith("database: ")
    assert "\n" not in str(refused.value)


async def test_passwords_are_not_told(postgres_url: str) -> None:
    url = "postgresql://somebody:canary-secret@127.0.0.1:9/x"

    with pytest.raises(SettingsError) as refused:
        await open_postgres(url, clock=SystemClock())

    assert "canary-secret" not in str(refused.value)
