"""The event log on SQLite: it also watches the disk that the file is on."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from tidemill.clock import Clock
from tidemill.storage.claims import EventData
from tidemill.storage.commit import ROUTER_CURSOR
from tidemill.storage.limits import Limits
from tidemill.storage.log import StoredLog
from tidemill.storage.reading import Reading
from tidemill.storage.sqlite.writer import Writer
from tidemill.storage.tail import Tail

__all__ = ["SqliteEventLog"]

#: How long a look at the free disk space is good for, in seconds.
_DISK_CHECK_SECONDS = 1.0


class SqliteEventLog(StoredLog):
    """See `EventLog`."""

    def __init__(
        self,
        path: Path,
        *,
        writer: Writer,
        reading: Reading,
        tail: Tail,
        clock: Clock,
        limits: Limits,
        data: EventData | None = None,
    ) -> None:
        super().__init__(writer=writer, reading=reading, tail=tail, clock=clock, limits=limits, data=data)
        self._path = path
        self._positions = writer
        self._disk_checked_at = 0.0
        self._disk_full = False

    @property
    def routed(self) -> int:
        """Position up to which events are routed."""
        return int(self._positions.positions.cursors.get(ROUTER_CURSOR, "0"))

    def overload(self) -> int | None:
        return super().overload() or (30 if self._is_disk_full() else None)

    def _is_disk_full(self) -> bool:
        now = time.monotonic()
        if now - self._disk_checked_at > _DISK_CHECK_SECONDS:
            self._disk_checked_at = now
            self._disk_full = shutil.disk_usage(self._path.parent).free < self._limits.min_free_disk_bytes
        return self._disk_full
