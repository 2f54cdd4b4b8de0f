"""Stores on one shared database, as the nodes of a fleet have them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from tidemill.clock import SystemClock
from tidemill.storage.postgres import PostgresStore, open_store

Opener = Callable[[], Awaitable[PostgresStore]]


@pytest.fixture
async def open_node(postgres_url: str) -> AsyncIterator[Opener]:
    """Opens one more store on the test's database; all are closed at the end."""
    async with AsyncExitStack() as opened:

        async def open_one() -> PostgresStore:
            store = await open_store(postgres_url, clock=SystemClock())
            opened.push_async_callback(store.close)
            return store

        yield open_one
