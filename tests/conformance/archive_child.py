"""Keeps the past of one prepared log again and again, each time killed at the next line: run by a test, in a process.

    python archive_child.py PREPARED WORK KIND

`PREPARED` holds a store whose first segment is to be archived and dropped. For each line of what archives and drops, a
copy of it is made in `WORK/1`, `WORK/2`, …, and a child process keeps it that is killed before it runs that line. The
last copy is one that no line was left to kill in.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

from tidemill.clock import SystemClock
from tidemill.keeping import archive, retention
from tidemill.storage.sqlite import open_store

#: Positions per segment, and dropped in one transaction: small ones have all the lines, and are kept quickly.
SEGMENT, DROPPED = 4, 2
#: The code whose lines are counted.
_FILES = {archive.__file__, retention.__file__}


def archive_at(folder: Path, kind: str) -> archive.Archive:
    """The archive beside a store."""
    place = "archive" if kind == "folder" else f"file://{folder}/archive"
    return archive.open_archive(place, folder)


async def keep(folder: Path, kind: str) -> int:
    """Drop what is older than no time at all; how many events."""
    store = await open_store(folder / "tidemill.db", clock=SystemClock())
    try:
        limits = retention.Limits(days=1e-9, size=None, dedupe_days=1)
        place = archive_at(folder, kind)
        return await retention.Retention(store, limits, place, clock=SystemClock()).look()
    finally:
        await store.close()


def kill_before(line: int) -> None:
    """Die, as from a power cut of the process, before that many lines have run, in whatever thread."""
    left = line

    def trace(frame: FrameType, kind: str, _: Any) -> Any:
        nonlocal left
        if frame.f_code.co_filename not in _FILES:
            return None
        if kind == "line":
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    threading.settrace(trace)
    sys.settrace(trace)


def main() -> None:
    """Sweep over all lines."""
    retention.SEGMENT, retention._DROPPED = SEGMENT, DROPPED
    prepared, work, kind = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    line, is_over = 0, False
    while not is_over:
        line += 1
        folder = work / str(line)
        shutil.copytree(prepared, folder)
        child = os.fork()
        if not child:
            kill_before(line)
            asyncio.run(keep(folder, kind))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        is_over = status == 0
        if not is_over and os.WTERMSIG(status) != signal.SIGKILL:
            sys.exit(f"line {line}: status {status}")


if __name__ == "__main__":
    main()
