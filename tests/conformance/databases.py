"""The databases that suites run on: one store of a test's own, of either kind."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tidemill.clock import Clock, SystemClock
from tidemill.storage.claims import EventData
from tidemill.storage.contract import Store
from tidemill.storage.postgres import open_store as open_postgres
from tidemill.storage.shards import ALL
from tidemill.storage.sqlite import open_store as open_sqlite

__all__ = ["DATABASES", "Database", "Faults", "database_of", "opened"]

#: Parameters of a fixture whose tests run on both.
DATABASES = ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]


class Faults:
    """Tells the store to fail the next commits of a kind, as a disk or a network would."""

    def __init__(self, error: Exception) -> None:
        self.left: dict[str, int] = {}
        self.error = error

    def __call__(self, point: str) -> None:
        if self.left.get(point, 0) > 0:
            self.left[point] -= 1
            raise self.error


class Database:
    """One database of either kind that can be opened again and again."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.faults = Faults(
            sqlite3.OperationalError("disk I/O error") if self.is_sqlite else OSError("connection reset")
        )

    @property
    def is_sqlite(self) -> bool:
        return self.url.startswith("/")

    async def open(self) -> Store:
        if self.is_sqlite:
            return await open_sqlite(Path(self.url), clock=SystemClock(), probe=self.faults)
        store = await open_postgres(self.url, clock=SystemClock(), probe=self.faults)
        store.shards.change(ALL)  # one node, which does not ask who else there is
        return store


def database_of(request: pytest.FixtureRequest, path: Path) -> Database:
    """What a fixture with `DATABASES` as parameters gives: the file at `path`, or a database of a test's own."""
    return Database(str(path) if request.param == "sqlite" else request.getfixturevalue("postgres_url"))


@asynccontextmanager
async def opened(
    request: pytest.FixtureRequest, tmp_path: Path, clock: Clock, *, data: EventData | None = None
) -> AsyncIterator[Store]:
    """The store that the fixture's parameter asks for; it owns everything, as the only node does."""
    if request.param == "sqlite":
        store: Store = await open_sqlite(tmp_path / "state" / "tidemill.db", clock=clock, data=data)
    else:
        store = await open_postgres(request.getfixturevalue("postgres_url"), clock=clock, data=data)
        store.shards.change(ALL)
    try:
        yield store
    finally:
        await store.close()
