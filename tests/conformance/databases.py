"""The databases that suites run on: one store of a test's own, of either kind."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tidemill.clock import Clock
from tidemill.storage.claims import EventData
from tidemill.storage.contract import Store
from tidemill.storage.postgres import open_store as open_postgres
from tidemill.storage.shards import ALL
from tidemill.storage.sqlite import open_store as open_sqlite

__all__ = ["DATABASES", "opened"]

#: Parameters of a fixture whose tests run on both.
DATABASES = ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]


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
