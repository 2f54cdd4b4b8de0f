"""What sources remember, on PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator

from tidemill.storage.contract import FileVersion
from tidemill.storage.postgres.reading import PostgresReading

__all__ = ["PostgresLedger"]


class PostgresLedger:
    """See `Ledger`. Cursors are read each time: another node may have moved them."""

    def __init__(self, *, reading: PostgresReading) -> None:
        self._reading = reading

    async def cursor(self, name: str) -> str | None:
        return next((row[0] for row in await self._reading.rows("cursor", name)), None)

    async def cursors(self, prefix: str) -> dict[str, str]:
        return dict(await self._reading.rows("cursors", prefix))

    async def files(self, source: str) -> AsyncIterator[FileVersion]:
        async for row in self._reading.stream("files_of", source):
            yield FileVersion(*row)
