"""From candidates to landed files: due files are read in threads, what is complete is handed on.

Bounded: while too many landed files wait to be appended, nothing more is read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import assert_never

from tidemill.sources.files.candidates import Candidates
from tidemill.sources.files.health import Fault, Health
from tidemill.sources.files.reader import (
    Finding,
    Landed,
    Nothing,
    Reader,
    Refused,
    Request,
    Unreadable,
    Unsettled,
)

__all__ = ["CALL_FILES", "READERS", "Intake"]

#: Calls of the reader that run at once; each has a thread.
READERS = 2
#: Most files per call of the reader.
CALL_FILES = 64
#: Calls whose landed files may wait to be appended.
WAITING_CALLS = 16


class Intake:
    """Reads the due files of one source."""

    def __init__(
        self,
        candidates: Candidates,
        reader: Reader,
        *,
        health: Health,
        threads: Executor,
        on_folder_lost: Callable[[], None],
    ) -> None:
        self._candidates = candidates
        self._reader = reader
        self._health = health
        self._threads = threads
        self._on_folder_lost = on_folder_lost
        #: Complete files, in the order in which they were read; each is still a candidate.
        self.landed: asyncio.Queue[list[Landed | Refused]] = asyncio.Queue(WAITING_CALLS)
        #: Paths that could not be read; scans pass over them until `forgive`.
        self.unreadable: set[str] = set()

    async def run(self) -> None:
        """Read until cancelled, several calls at once."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(READERS):
                tasks.create_task(self._read_forever())

    def forgive(self) -> None:
        """Try files again that could not be read."""
        self.unreadable.clear()
        self._health.mend(Fault.FILE)

    async def _read_forever(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            requests = await self._candidates.take(CALL_FILES)
            try:
                findings = await loop.run_in_executor(self._threads, self._reader.read, requests)
            except OSError:
                self._lose(requests)
                continue
            for request in reversed(requests[len(findings) :]):
                self._candidates.give_back(request)
            landed = [finding for finding in findings if isinstance(finding, Landed | Refused)]
            for finding in findings:
                self._settle(finding)
            if landed:
                await self.landed.put(landed)

    def _settle(self, finding: Finding) -> None:
        match finding:
            case Landed() | Refused():
                pass  # stays a candidate until it is announced
            case Unsettled(path, version, wait):
                self._candidates.settle_later(path, version, wait)
            case Nothing(path):
                self._candidates.drop(path)
            case Unreadable(path, reason):
                self.unreadable.add(path)
                self._health.report(Fault.FILE, f"{path!r} cannot be read: {reason}")
                self._candidates.drop(path)
            case _:
                assert_never(finding)

    def _lose(self, requests: Sequence[Request]) -> None:
        """The folder is gone: the scan that follows says so, and finds these files when it is back."""
        for request in requests:
            self._candidates.drop(request.path)
        self._on_folder_lost()
