"""What waits in the admission of triggers, on whatever database is behind `Reading`; routing writes it."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from tidemill.storage.commit import ADMISSION_CURSOR
from tidemill.storage.contract import HeldEvent, Ledger, MemoryKey, Remembered
from tidemill.storage.reading import Reading

__all__ = ["StoredAdmissions"]


class StoredAdmissions:
    """See `Admissions`."""

    def __init__(self, *, ledger: Ledger, reading: Reading) -> None:
        self._ledger = ledger
        self._reading = reading

    async def turn(self) -> int:
        return int(await self._ledger.cursor(ADMISSION_CURSOR) or 0)

    async def held(self, *, after: tuple[int, str], limit: int) -> list[HeldEvent]:
        return [HeldEvent(*row) for row in await self._reading.rows("held", *after, limit)]

    async def held_at(self, position: int) -> list[HeldEvent]:
        return [HeldEvent(*row) for row in await self._reading.rows("held_at", position)]

    async def counts(self) -> dict[tuple[str, str], int]:
        rows = await self._reading.rows("held_counts")
        return {(trigger, stage): count for trigger, stage, count in rows}

    async def remembered(self, *, limit: int) -> list[Remembered]:
        return [Remembered(*row) for row in await self._reading.rows("memory", limit)]

    async def recall(self, keys: Sequence[MemoryKey]) -> list[Remembered]:
        rows = await self._reading.rows("memory_of", orjson.dumps(keys).decode())
        return [Remembered(*row) for row in rows]

    async def open_runs(self, *, after: str, limit: int) -> list[tuple[str, str, str]]:
        rows = await self._reading.rows("admitted_runs", after, limit)
        return [(run, trigger, admission) for run, trigger, admission in rows]
