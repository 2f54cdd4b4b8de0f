"""Reading on SQLite: one query after the other on a connection that cannot write."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from tidemill.storage.reading import Condition, placed, wanted
from tidemill.storage.sqlite.connection import Session
from tidemill.storage.sqlite.queries import QUERIES

__all__ = ["SqliteReading"]


class SqliteReading:
    """See `Reading`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def rows(self, query: str, *values: Any, where: Sequence[Condition] = ()) -> list[tuple[Any, ...]]:
        """All rows."""
        given = wanted(where)
        statement = QUERIES[query]
        if where:
            statement = statement.format(conditions=placed(given, "?", len(values) + 1))
        bound = [_bound(value) for value in values] + [value for _, value in given]
        return list(await self._session.execute_fetchall(statement, bound))  # type: ignore[arg-type]

    def member(self, name: str) -> str:
        return f"body ->> '$.{name}'"


def _bound(value: Any) -> Any:
    """A set of numbers or texts as JSON text, for `json_each`."""
    return orjson.dumps(sorted(value)).decode() if isinstance(value, frozenset) else value
