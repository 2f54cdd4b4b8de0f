"""What sources remember and what could not go on, on PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from tidemill.storage.commit import StatementJob
from tidemill.storage.contract import DeadLetter, FileVersion
from tidemill.storage.postgres.queries import QUERIES
from tidemill.storage.postgres.reading import Reading
from tidemill.storage.postgres.writer import Writer
from tidemill.storage.rows import dead_letter_from_row

__all__ = ["PostgresDeadLetters", "PostgresLedger"]

#: Sorts after every id.
_LAST = "\x7f"


class PostgresLedger:
    """See `Ledger`. Cursors are read each time: another node may have moved them."""

    def __init__(self, *, reading: Reading) -> None:
        self._reading = reading

    async def cursor(self, name: str) -> str | None:
        return next((row[0] for row in await self._reading.fetch(QUERIES["cursor"], name)), None)

    async def cursors(self, prefix: str) -> dict[str, str]:
        return dict(await self._reading.fetch(QUERIES["cursors"], prefix))

    async def files(self, source: str) -> AsyncIterator[FileVersion]:
        async for row in self._reading.stream(QUERIES["files_of"], source):
            yield FileVersion(*row)


class PostgresDeadLetters:
    """See `DeadLetters`."""

    def __init__(self, *, writer: Writer, reading: Reading) -> None:
        self._writer = writer
        self._reading = reading

    async def add(self, letters: Sequence[DeadLetter]) -> None:
        await self._writer.submit(StatementJob((), tuple(letters)))

    async def list(self, *, stage: str | None, before: str | None, limit: int) -> list[DeadLetter]:
        query = QUERIES["list_dead_letters"].format(conditions=" AND stage = $3" if stage else "")
        rows = await self._reading.fetch(query, before or _LAST, limit, *([stage] if stage else []))
        return [dead_letter_from_row(tuple(row)) for row in rows]

    async def get(self, letter_id: str) -> DeadLetter | None:
        rows = await self._reading.fetch(QUERIES["dead_letter"], letter_id)
        return next((dead_letter_from_row(tuple(row)) for row in rows), None)
