"""What stages remember of keys (windows, keys seen before) in bounded memory, backed by rows. Pure.

While everything fits, what is not here does not exist. Once something had to be forgotten here, what is not here is
`unknown` and must be read from the database before it is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from tidemill.project.admission import Stage
from tidemill.storage.contract import MemoryKey, Remembered

__all__ = ["Memory"]


class _Record:
    __slots__ = ("body", "until")

    def __init__(self, body: Any, until: int) -> None:
        self.body = body
        self.until = until


class Memory:
    """Records by (trigger, stage, key), the least recently used ones first."""

    def __init__(self, limit: int = 50_000) -> None:
        self._limit = limit
        self._records: dict[MemoryKey, _Record | None] = {}
        self._dirty: dict[MemoryKey, None] = {}
        #: True: what is not here does not exist.
        self.complete = True

    def __len__(self) -> int:
        return len(self._records)

    def get(self, trigger: str, stage: Stage, key: str) -> Any:
        """What was put there, None for nothing; the caller may change it and put it back."""
        record = self._records.get((trigger, stage.value, key))
        return None if record is None else record.body

    def put(self, trigger: str, stage: Stage, key: str, body: Any, *, until: int) -> None:
        """Remember a JSON value that means nothing any more after `until`."""
        place = (trigger, stage.value, key)
        self._records.pop(place, None)
        self._records[place] = _Record(body, until)
        self._dirty[place] = None

    def unknown(self, places: Iterable[MemoryKey]) -> list[MemoryKey]:
        """Those that must be read before they are asked for."""
        if self.complete:
            return []
        return [place for place in dict.fromkeys(places) if place not in self._records]

    def adopt(self, rows: Iterable[Remembered], asked: Iterable[MemoryKey] = ()) -> None:
        """What was read from the database; what was asked for and is not among it does not exist."""
        for place in asked:
            self._records[place] = None
        for row in rows:
            self._records[row.trigger, row.stage, row.key] = _Record(orjson.loads(row.body), row.until)

    @property
    def is_changed(self) -> bool:
        """Whether something was put since the last `changed`."""
        return bool(self._dirty)

    def changed(self) -> list[Remembered]:
        """Rows of what was put since the last call."""
        dirty, self._dirty = self._dirty, {}
        return [
            Remembered(*place, record.until, orjson.dumps(record.body))
            for place in dirty
            if (record := self._records[place]) is not None
        ]

    def trim(self, horizon: int) -> None:
        """Stay within the limit; what was put since the last `changed` stays. Call when nothing is in flight."""
        if len(self._records) <= self._limit:
            return
        for place in [
            place
            for place, record in self._records.items()
            if (record is None or record.until <= horizon) and place not in self._dirty
        ]:
            # Where rows may exist that are not here, only what the database has forgotten too is known to be gone.
            del self._records[place]
        excess = len(self._records) - self._limit * 3 // 4
        if excess <= 0:
            return
        for place in [place for place in self._records if place not in self._dirty][:excess]:
            del self._records[place]
            self.complete = False
