"""Reading on PostgreSQL: short queries on a small pool, apart from the writing session."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import asyncpg

from tidemill.storage.postgres.connection import LOST, translate
from tidemill.storage.postgres.queries import QUERIES
from tidemill.storage.reading import Condition, placed, wanted

__all__ = ["PostgresReading"]

_PREFETCH = 1000
#: The stored event as JSON. PostgreSQL reads no member of a document in which any text holds NUL, so that NULs are left
#: out (an escaped one: after an even number of backslashes); no attribute that is asked for can hold one.
_BODY = (
    "(CASE WHEN position('\\x5c7530303030'::bytea IN body) > 0"
    r" THEN regexp_replace(convert_from(body, 'UTF8'), '(?<!\\)((?:\\\\)*)\\u0000', '\1', 'g')"
    " ELSE convert_from(body, 'UTF8') END)::json"
)


class PostgresReading:
    """See `Reading`. Raises `StorageError` like everything else of a store, never the driver's own errors."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def rows(self, query: str, *values: Any, where: Sequence[Condition] = ()) -> list[tuple[Any, ...]]:
        """All rows; none for a text with NUL, which no stored text holds."""
        given = wanted(where)
        values = (*values, *(value for _, value in given))
        if any(type(value) is str and "\0" in value for value in values):
            return []
        statement = QUERIES[query]
        if where:
            statement = statement.format(conditions=placed(given, "$", len(values) - len(given) + 1))
        values = tuple(list(value) if isinstance(value, frozenset) else value for value in values)
        try:
            return [tuple(row) for row in await self._pool.fetch(statement, *values)]
        except (*LOST, asyncpg.PostgresError, TimeoutError) as error:
            raise translate(error) from error

    def member(self, name: str) -> str:
        return f"{_BODY} ->> '{name}'"

    async def stream(self, query: str, *values: Any) -> AsyncIterator[asyncpg.Record]:
        """Rows of a named query one by one, for answers that may be long."""
        try:
            async with self._pool.acquire() as connection, connection.transaction():
                async for row in connection.cursor(QUERIES[query], *values, prefetch=_PREFETCH):
                    yield row
        except (*LOST, asyncpg.PostgresError, TimeoutError) as error:
            raise translate(error) from error

    async def close(self) -> None:
        """Let go of all connections."""
        await self._pool.close()

    def terminate(self) -> None:
        """Cut all connections."""
        self._pool.terminate()
