"""Results of tasks by code and inputs, on whatever database is behind `Reading` and `Writing`."""

from __future__ import annotations

from collections.abc import Collection

from tidemill.storage.commit import StatementJob
from tidemill.storage.contract import CachedResult, CacheEntry
from tidemill.storage.reading import Reading
from tidemill.storage.writing import Writing

__all__ = ["StoredCache"]

#: Later than every time, and after every key.
_END = (1 << 62, "")


class StoredCache:
    """See `TaskCache`."""

    def __init__(self, *, writer: Writing, reading: Reading) -> None:
        self._writer = writer
        self._reading = reading

    async def find(self, keys: Collection[str]) -> dict[str, CacheEntry]:
        """What there is of these keys."""
        found = await self._reading.rows("cached", frozenset(keys))
        return {row[0]: CacheEntry(*row) for row in found}

    async def list(
        self, *, dag: str | None = None, task: str | None = None, before: str | None = None, limit: int
    ) -> list[CachedResult]:
        """Newest first; `before` is the `place` of the last one of the page before."""
        at, key = _END
        if before is not None:
            number, _, key = before.partition("-")
            at = int(number)
        where = [("dag = {}", dag), ("task = {}", task)]
        return [
            CachedResult(*row) for row in await self._reading.rows("list_cached", at, key, limit, where=where)
        ]

    async def clear(
        self,
        *,
        dag: str | None = None,
        task: str | None = None,
        key: str | None = None,
        before: int | None = None,
    ) -> int:
        """Forget what fulfils every condition given (`before`: made before that time); about how many were there."""
        row = (dag or "", task or "", key or "", _END[0] if before is None else before)
        ((count,),) = await self._reading.rows("count_cached", *row)
        await self._writer.submit(StatementJob((("clear_cached", (row,)),)))
        return int(count)
