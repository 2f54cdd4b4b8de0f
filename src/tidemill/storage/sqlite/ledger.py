"""What sources remember, on SQLite."""

from __future__ import annotations

from collections.abc import AsyncIterator

from tidemill.storage.contract import FileVersion
from tidemill.storage.sqlite.connection import Session
from tidemill.storage.sqlite.queries import QUERIES
from tidemill.storage.sqlite.writer import Writer

__all__ = ["SqliteLedger"]


class SqliteLedger:
    """See `Ledger`. Cursors are few and are answered from the writer's memory."""

    def __init__(self, *, writer: Writer, reader: Session) -> None:
        self._writer = writer
        self._reader = reader

    async def cursor(self, name: str) -> str | None:
        return self._writer.positions.cursors.get(name)

    async def cursors(self, prefix: str) -> dict[str, str]:
        held = self._writer.positions.cursors
        return {name: value for name, value in held.items() if name.startswith(prefix)}

    async def files(self, source: str) -> AsyncIterator[FileVersion]:
        async with self._reader.execute(QUERIES["files_of"], (source,)) as cursor:
            async for row in cursor:
                yield FileVersion(*row)
