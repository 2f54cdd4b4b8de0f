"""A SQLite database that another process opens while it is served."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tidemill.clock import SystemClock
from tidemill.events.event import Event
from tidemill.storage.contract import Append
from tidemill.storage.sqlite import open_store

_LOOK = """
import contextlib, sqlite3, sys
with contextlib.closing(sqlite3.connect(sys.argv[1])) as database:
    print(database.execute("SELECT count(*) FROM events").fetchone()[0])
"""


def _count(path: Path) -> int:
    """Events as a process of its own finds them, which opens the database for writing and closes it."""
    found = subprocess.run(
        [sys.executable, "-c", _LOOK, str(path)], capture_output=True, text=True, check=True
    )
    return int(found.stdout)


async def test_what_is_committed_after_another_process_looked_at_the_database_is_on_disk(
    tmp_path: Path,
) -> None:
    path = tmp_path / "tidemill.db"
    store = await open_store(path, clock=SystemClock())
    try:
        await store.log.append(Append(events=(Event(id="1", source="/s", type="t"),)))
        await store.log.read(0, 10)

        found = [_count(path)]
        await store.log.append(Append(events=(Event(id="2", source="/s", type="t"),)))
        found.append(_count(path))

        assert found == [1, 2]
    finally:
        await store.close()
