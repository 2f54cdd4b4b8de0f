"""Bring a database to the newest form: numbered files, forward only, each in one transaction."""

from __future__ import annotations

import sqlite3

from tidemill.errors import StorageError
from tidemill.storage.named import load_migrations

__all__ = ["migrate"]


def migrate(connection: sqlite3.Connection) -> int:
    """Apply what is missing and return the database's version.

    Killed at any point, the next call goes on where this one stopped. Raises `StorageError` for a database that a
    newer Tidemill has written: use that one.
    """
    known = load_migrations(__package__)
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > known[-1][0]:
        raise StorageError(
            f"the database has version {version} and this Tidemill knows {known[-1][0]}; use a newer Tidemill"
        )
    for number, script in known:
        if number > version:
            connection.executescript(f"BEGIN IMMEDIATE;\n{script}\nPRAGMA user_version={number};\nCOMMIT;")
    return known[-1][0]
