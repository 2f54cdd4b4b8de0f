"""What could not go on, on whatever database is behind `Reading` and `Writing`."""

from __future__ import annotations

from collections.abc import Sequence

from tidemill.storage.commit import StatementJob
from tidemill.storage.contract import DeadLetter
from tidemill.storage.reading import Reading
from tidemill.storage.rows import dead_letter_from_row
from tidemill.storage.writing import Writing

__all__ = ["StoredDeadLetters"]

#: Sorts after every id.
_LAST = "\x7f"


class StoredDeadLetters:
    """See `DeadLetters`."""

    def __init__(self, *, writer: Writing, reading: Reading) -> None:
        self._writer = writer
        self._reading = reading

    async def add(self, letters: Sequence[DeadLetter]) -> None:
        await self._writer.submit(StatementJob((), tuple(letters)))

    async def list(self, *, stage: str | None, before: str | None, limit: int) -> list[DeadLetter]:
        where = [("stage = {}", stage or None)]
        rows = await self._reading.rows("list_dead_letters", before or _LAST, limit, where=where)
        return [dead_letter_from_row(row) for row in rows]

    async def get(self, letter_id: str) -> DeadLetter | None:
        rows = await self._reading.rows("dead_letter", letter_id)
        return next(map(dead_letter_from_row, rows), None)
