"""The note in a project's state folder that tells the command line where the project's server is.

The server holds a lock on the note for as long as it lives, so that the note of a server which was killed is
never taken for one that runs: another project's server may answer at that address by now.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from pathlib import Path
from typing import NamedTuple

__all__ = ["Found", "Note", "find_note"]

_PLACE = Path(".tidemill") / "server.json"
#: Most bytes of a note that are read.
_MAX_BYTES = 4096


class Found(NamedTuple):
    """What a note says."""

    url: str
    #: Whether the process that wrote it lives.
    is_held: bool


class Note:
    """The note of one server."""

    def __init__(self, root: Path) -> None:
        self._path = root / _PLACE
        self._descriptor: int | None = None

    def write(self, url: str) -> None:
        """Say that the project's server answers at `url`, until `remove` or the end of the process."""
        self._path.parent.mkdir(mode=0o700, exist_ok=True)
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        # Somebody may be looking at the lock in this instant; then readers ask the address instead.
        with contextlib.suppress(OSError):
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        text = json.dumps({"url": url}).encode()
        os.truncate(self._descriptor, 0)
        os.pwrite(self._descriptor, text, 0)

    def remove(self) -> None:
        """Take the note away; does nothing when none was written."""
        if self._descriptor is None:
            return
        self._path.unlink(missing_ok=True)
        os.close(self._descriptor)
        self._descriptor = None


def find_note(root: Path) -> Found | None:
    """What the note of the project at `root` says; None when there is none that can be read."""
    try:
        with (root / _PLACE).open("rb") as file:
            text = file.read(_MAX_BYTES)
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                is_held = False
            except OSError:
                is_held = True
        url = json.loads(text)["url"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Found(url, is_held) if isinstance(url, str) else None
