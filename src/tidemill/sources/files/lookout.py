"""Who sees files: the scan loop, and the watch that is kept up beside it. What is seen becomes a candidate.

Rules:
1. The scan is the truth: at start, at an interval, and whenever one is wanted (hints were lost, an earlier
   scan found more than fitted, the folder was gone).
2. The watch is in place before the scan that follows it, so that nothing falls between the two.
3. The folder is made once, at the start. Gone later, it is waited for: it may be a mount that comes back.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar

from tidemill.clock import Clock
from tidemill.project.model import FileSource
from tidemill.sources.contract import SourceState
from tidemill.sources.files import folder
from tidemill.sources.files.candidates import Candidates
from tidemill.sources.files.health import Fault, Health
from tidemill.sources.files.scanner import Scan, Scanner
from tidemill.sources.files.selection import Selection
from tidemill.sources.files.watch import Hint, Watch

__all__ = ["Lookout"]

T = TypeVar("T")

#: Seconds until a folder that is gone is looked for again (the scan interval, where that is shorter).
GONE_SECONDS = 1.0
#: Timed scans between two attempts to get a watch that could not be had: doubling, up to this.
MOST_SCANS_WITHOUT_ATTEMPT = 64


class Lookout:
    """Looks at one folder for as long as `run` runs."""

    def __init__(
        self,
        spec: FileSource,
        scanner: Scanner,
        candidates: Candidates,
        *,
        selection: Selection,
        clock: Clock,
        scan_seconds: float,
        health: Health,
        threads: Executor,
        wanted: asyncio.Event,
        on_timed_scan: Callable[[], None],
    ) -> None:
        """`wanted` asks for a scan; `on_timed_scan` is called before a scan for which nobody asked."""
        self._spec = spec
        self._scanner = scanner
        self._candidates = candidates
        self._selection = selection
        self._clock = clock
        self._scan_seconds = scan_seconds
        self._health = health
        self._threads = threads
        self._wanted = wanted
        self._on_timed_scan = on_timed_scan
        self._loop = asyncio.get_running_loop()
        self._watch: Watch | None = None
        self._made = False
        self._timed = True
        self._attempt_in = 0
        self._attempt_every = 1

    async def run(self) -> None:
        """Look until cancelled; then nothing watches any more."""
        try:
            while True:
                await self._look()
                gone = self._health.has(Fault.FOLDER)
                await self._rest(min(self._scan_seconds, GONE_SECONDS) if gone else self._scan_seconds)
        finally:
            if self._watch is not None:
                await asyncio.to_thread(self._watch.stop)

    async def _rest(self, seconds: float) -> None:
        """Return when a scan is wanted or the time has come."""
        wakeup = self._clock.call_later(seconds, self._time_has_come)
        try:
            await self._wanted.wait()
        finally:
            wakeup.cancel()
        self._wanted.clear()

    def _time_has_come(self) -> None:
        self._timed = True
        self._wanted.set()

    async def _look(self) -> None:
        """One scan, with the watch in place if it can be had."""
        timed, self._timed = self._timed, False
        if timed:
            self._on_timed_scan()
        try:
            root = await self._in_thread(self._find_root)
            await self._keep_watch(root, timed=timed)
            room = self._candidates.room
            scan = await self._in_thread(lambda: self._scanner.scan(limit=room))
        except OSError as error:
            self._health.report(Fault.FOLDER, f"{self._spec.path}: {error.strerror}")
            return
        self._health.mend(Fault.FOLDER)
        self._health.become(SourceState.LIVE)
        self._take(scan)

    def _find_root(self) -> tuple[int, int]:
        """(device, inode) of the folder, which is made if it never was there."""
        if not self._made:
            self._spec.path.mkdir(parents=True, exist_ok=True)
            self._made = True
        with folder.open_root(self._spec.path) as root:
            about = os.fstat(root)
        return about.st_dev, about.st_ino

    def _take(self, scan: Scan) -> None:
        marked = self._spec.complete == "marker"
        for sighting in scan.sightings:
            self._candidates.see(sighting.path, sighting.version, complete=marked)
        if scan.truncated:
            self._candidates.expect_scan()
        if scan.error:
            self._health.report(Fault.LISTING, f"cannot be listed: {scan.error}")
        elif not scan.truncated:
            self._health.mend(Fault.LISTING)

    async def _keep_watch(self, root: tuple[int, int], *, timed: bool) -> None:
        """Get a watch where none is, or where the one there is watches something that was replaced."""
        if self._watch is not None:
            if self._watch.is_watching(root):
                return
            old, self._watch = self._watch, None
            await self._in_thread(old.stop)
        self._attempt_in -= timed
        if self._attempt_in > 0:
            return
        new = Watch(self._spec.path, on_hint=self._pass_hint, on_loss=self._pass_loss)
        try:
            await self._in_thread(new.start)
        except OSError as error:
            self._health.report(Fault.WATCH, f"no watch, scanning only: {error.strerror or error}")
            self._attempt_in = self._attempt_every
            self._attempt_every = min(self._attempt_every * 2, MOST_SCANS_WITHOUT_ATTEMPT)
            return
        self._watch = new
        self._attempt_in, self._attempt_every = 0, 1
        self._health.mend(Fault.WATCH)

    def _pass_hint(self, hint: Hint) -> None:
        """In the watch's thread: the loop may be closed already."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._take_hint, hint)

    def _pass_loss(self) -> None:
        """In the watch's thread: hints were lost."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._wanted.set)

    def _take_hint(self, hint: Hint) -> None:
        path = self._selection.marked_by(hint.path)
        if self._selection.takes(path):
            match self._spec.complete:
                case "close":
                    self._candidates.see(path, None, complete=hint.complete)
                case "quiet":
                    self._candidates.see(path, None, complete=False)
                case "marker":
                    self._candidates.see(path, None, complete=True)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await self._loop.run_in_executor(self._threads, work)
