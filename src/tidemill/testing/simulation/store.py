"""The SQLite store on a simulated disk: every statement, every job and every rule of the writer is the real one."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from tidemill.clock import Clock
from tidemill.storage.limits import Limits
from tidemill.storage.sqlite.connection import Session
from tidemill.storage.sqlite.store import SqliteStore
from tidemill.storage.sqlite.writer import load_positions
from tidemill.testing.simulation.disk import Disk, SimulatedSession
from tidemill.testing.simulation.process import Process

__all__ = ["SimulatedStore", "open_simulated"]


class SimulatedStore(SqliteStore):
    """A store without file, lock and mark of a clean stop."""

    async def close(self) -> None:
        """Commit what was handed in."""
        await self._writer.close()

    async def abandon(self) -> None:
        """A simulated process is killed by its loop (`Process.kill`), and lets go of nothing."""
        raise NotImplementedError


def open_simulated(disk: Disk, process: Process, *, clock: Clock) -> SimulatedStore:
    """The store of one process; what the disk holds is read at once."""
    session = cast("Session", SimulatedSession(disk, process))
    return SimulatedStore(
        Path("/simulated.db"),
        lock=-1,
        session=session,
        readers=(session, session),
        positions=load_positions(disk.connection),
        clock=clock,
        limits=Limits(min_free_disk_bytes=0),
        probe=disk.faults.probe,
    )
