"""The self-test of a watch: does it tell of a file that is made in the folder?"""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import Executor
from pathlib import Path
from uuid import uuid4

from tidemill.sources.files import folder

__all__ = ["PROBE_SECONDS", "Probe"]

#: Longest time that a new watch may take to tell of the file.
PROBE_SECONDS = 2.0
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Probe:
    """One hidden file, made once and gone at once; `told` is set by whoever hears of it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.name = f".tidemill-{uuid4().hex}.probe"
        self.told = asyncio.Event()

    async def is_told(self, threads: Executor) -> bool:
        """Whether the watch tells of the file; True where none can be made, so that nothing is known."""
        if not await asyncio.get_running_loop().run_in_executor(threads, self._make):
            return True
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                await self.told.wait()
        except TimeoutError:
            return False
        return True

    def _make(self) -> bool:
        """In a thread."""
        try:
            with folder.open_root(self._path) as root:
                os.close(os.open(self.name, _NEW, 0o600, dir_fd=root))
                os.unlink(self.name, dir_fd=root)
        except OSError:
            return False
        return True
