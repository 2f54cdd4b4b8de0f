"""Reading on PostgreSQL: short queries on a small pool, apart from the writing session."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import asyncpg

from tidemill.storage.postgres.connection import LOST, translate

__all__ = ["Reading"]

_PREFETCH = 1000


class Reading:
    """Raises `StorageError` like everything else of a store, never the driver's own errors."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def fetch(self, query: str, *values: Any) -> list[asyncpg.Record]:
        """All rows; none for a text with NUL, which no stored text holds."""
        if any(type(value) is str and "\0" in value for value in values):
            return []
        try:
            rows: list[asyncpg.Record] = await self._pool.fetch(query, *values)
        except (*LOST, asyncpg.PostgresError, TimeoutError) as error:
            raise translate(error) from error
        return rows

    async def stream(self, query: str, *values: Any) -> AsyncIterator[asyncpg.Record]:
        """Row by row, for answers that may be long."""
        try:
            async with self._pool.acquire() as connection, connection.transaction():
                async for row in connection.cursor(query, *values, prefetch=_PREFETCH):
                    yield row
        except (*LOST, asyncpg.PostgresError, TimeoutError) as error:
            raise translate(error) from error

    async def close(self) -> None:
        """Let go of all connections."""
        await self._pool.close()

    def terminate(self) -> None:
        """Cut all connections."""
        self._pool.terminate()
