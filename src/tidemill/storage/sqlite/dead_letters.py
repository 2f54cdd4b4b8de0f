"""What could not go on, on SQLite."""

from __future__ import annotations

from collections.abc import Sequence

from tidemill.storage.commit import StatementJob
from tidemill.storage.contract import DeadLetter
from tidemill.storage.rows import dead_letter_from_row
from tidemill.storage.sqlite.connection import Session
from tidemill.storage.sqlite.queries import QUERIES
from tidemill.storage.sqlite.writer import Writer

__all__ = ["SqliteDeadLetters"]

#: Sorts after every id.
_LAST = "\x7f"


class SqliteDeadLetters:
    """See `DeadLetters`."""

    def __init__(self, *, writer: Writer, reader: Session) -> None:
        self._writer = writer
        self._reader = reader

    async def add(self, letters: Sequence[DeadLetter]) -> None:
        await self._writer.submit(StatementJob((), tuple(letters)))

    async def list(self, *, stage: str | None, before: str | None, limit: int) -> list[DeadLetter]:
        query = QUERIES["list_dead_letters"].format(conditions=" AND stage = ?" if stage else "")
        values = [before or _LAST, *([stage] if stage else []), limit]
        rows = await self._reader.execute_fetchall(query, values)
        return [dead_letter_from_row(tuple(row)) for row in rows]

    async def get(self, letter_id: str) -> DeadLetter | None:
        rows = await self._reader.execute_fetchall(QUERIES["dead_letter"], (letter_id,))
        return next((dead_letter_from_row(tuple(row)) for row in rows), None)
