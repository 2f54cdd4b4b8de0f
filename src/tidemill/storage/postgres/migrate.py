"""Bring a database to the newest form: numbered files, forward only, all that is missing in one transaction.

Many nodes may start at once: one migrates, the others wait for it.
"""

from __future__ import annotations

import asyncpg

from tidemill.errors import SettingsError, StorageError
from tidemill.storage.named import load_migrations
from tidemill.storage.postgres.queries import QUERIES

__all__ = ["check_server", "claim", "migrate", "refuse_half_copied"]

#: PostgreSQL 15, as `server_version_num` counts.
_OLDEST = 150_000
#: Advisory lock under which databases are migrated.
_LOCK = 0x71DE_0001


async def check_server(connection: asyncpg.Connection) -> None:
    """Refuse (`SettingsError`) a server that is too old, or a database that cannot hold every text."""
    version = int(await connection.fetchval("SHOW server_version_num"))
    if version < _OLDEST:
        raise SettingsError(f"database: PostgreSQL {version // 10_000} is too old; use 15 or newer")
    encoding = await connection.fetchval("SHOW server_encoding")
    if encoding != "UTF8":
        raise SettingsError(f"database: its encoding is {encoding}; create it with ENCODING 'UTF8'")


async def migrate(connection: asyncpg.Connection) -> int:
    """Apply what is missing and return the database's version.

    Raises `StorageError` for a database that a newer Tidemill has written: use that one.
    """
    known = load_migrations(__package__)
    newest = known[-1][0]
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        await connection.execute("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL)")
        version = await connection.fetchval("SELECT max(version) FROM schema_version") or 0
        if version > newest:
            raise StorageError(
                f"the database has version {version} and this Tidemill knows {newest}; use a newer Tidemill"
            )
        for number, script in known:
            if number > version:
                await connection.execute(script)
                await connection.execute("INSERT INTO schema_version (version) VALUES ($1)", number)
    return newest


async def claim(connection: asyncpg.Connection, project: str) -> None:
    """Make this the database of `project`; raises `SettingsError` when it is another one's."""
    await connection.execute(QUERIES["set_project"], project)
    found = await connection.fetchval(QUERIES["project"])
    if found != project:
        raise SettingsError(
            f"database: it holds the state of project {found!r}, not of {project!r}; use another database, "
            f"or set project_name to {found!r}"
        )


async def refuse_half_copied(connection: asyncpg.Connection) -> None:
    """Refuse (`SettingsError`) a database into which a project is still being copied."""
    if await connection.fetchval("SELECT to_regclass('transfer')") is None:
        return
    if not await connection.fetchval("SELECT EXISTS (SELECT FROM transfer WHERE name = 'transfer.complete')"):
        raise SettingsError("database: a copy into it was not finished; run tidemill migrate --from again")
