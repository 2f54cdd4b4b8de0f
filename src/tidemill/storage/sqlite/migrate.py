"""Bring a database to the newest form: numbered files, forward only, each in one transaction."""

from __future__ import annotations

import sqlite3
from importlib import resources

from tidemill.errors import StorageError

__all__ = ["migrate", "migrations"]


def migrations() -> list[tuple[int, str]]:
    """(number, SQL) of every migration, in order."""
    folder = resources.files(__package__).joinpath("migrations")
    files = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return [(int(name.split("_", 1)[0]), folder.joinpath(name).read_text("utf-8")) for name in files]


def migrate(connection: sqlite3.Connection) -> int:
    """Apply what is missing and return the database's version.

    Killed at any point, the next call goes on where this one stopped. Raises `StorageError` for a database that a
    newer Tidemill has written: use that one.
    """
    known = migrations()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > known[-1][0]:
        raise StorageError(
            f"the database has version {version} and this Tidemill knows {known[-1][0]}; use a newer Tidemill"
        )
    for number, script in known:
        if number > version:
            connection.executescript(f"BEGIN IMMEDIATE;\n{script}\nPRAGMA user_version={number};\nCOMMIT;")
    return known[-1][0]
