"""Who sees files: the scan loop, and the watch that is kept up beside it. What is seen becomes a candidate.

Rules:
1. The scan is the truth: at start, at an interval, and whenever one is wanted (hints were lost, an earlier
   scan found more than fitted, the folder was gone).
2. The watch is in place before the scan that follows it, so that nothing falls between the two.
3. The folder is made once, at the start. Gone later, it is waited for: it may be a mount that comes back.
4. A folder whose file system tells nothing of changes (its kind says so, or it told nothing of a file made for the
   test) is listed often instead, at most a tenth of the time, and that is said: mode `polling`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TypeVar

from tidemill.clock import Clock
from tidemill.project.model import FileSource
from tidemill.sources.contract import SourceState
from tidemill.sources.files import folder, mounts
from tidemill.sources.files.candidates import Candidates
from tidemill.sources.files.health import Fault, Health
from tidemill.sources.files.probe import Probe
from tidemill.sources.files.scanner import Scan, Scanner
from tidemill.sources.files.selection import Selection
from tidemill.sources.files.strategy import is_complete, spoken_of
from tidemill.sources.files.watch import Hint, Watch

__all__ = ["Lookout"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: Seconds until a folder that is gone is looked for again (the scan interval, where that is shorter).
GONE_SECONDS = 1.0
#: Timed scans between two attempts to get a watch that could not be had: doubling, up to this.
MOST_SCANS_WITHOUT_ATTEMPT = 64
#: Most hints that are taken in one turn of the loop.
HINTS_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class _Root:
    """The watched folder."""

    #: Device and inode.
    identity: tuple[int, int]
    #: Kind of its file system, None where it cannot be known.
    kind: str | None


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
        self._hints: deque[Hint] = deque()
        self._is_woken = False
        self._probe: Probe | None = None
        self._scan_took = 0.0
        #: "events" or "polling"; empty before the first look.
        self.mode = ""

    async def run(self) -> None:
        """Look until cancelled; then nothing watches any more."""
        try:
            while True:
                await self._look()
                gone = self._health.has(Fault.FOLDER)
                await self._rest(min(self._scan_seconds, GONE_SECONDS) if gone else self._interval())
        finally:
            if self._watch is not None:
                await asyncio.to_thread(self._watch.stop)

    def _interval(self) -> float:
        """Seconds until the next scan for which nobody asked."""
        if self.mode != "polling":
            return self._scan_seconds
        return max(min(self._spec.poll.total_seconds(), self._scan_seconds), 10 * self._scan_took)

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
            begun = self._loop.time()
            scan = await self._in_thread(lambda: self._scanner.scan(limit=room))
            self._scan_took = self._loop.time() - begun
        except OSError as error:
            self._health.report(Fault.FOLDER, f"{self._spec.path}: {error.strerror}")
            return
        self._health.mend(Fault.FOLDER)
        self._health.become(SourceState.LIVE)
        self._take(scan)

    def _find_root(self) -> _Root:
        """The folder, which is made if it never was there."""
        if not self._made:
            self._spec.path.mkdir(parents=True, exist_ok=True)
            self._made = True
        with folder.open_root(self._spec.path) as root:
            about = os.fstat(root)
            return _Root((about.st_dev, about.st_ino), mounts.kind_of(root))

    def _take(self, scan: Scan) -> None:
        # Where something else than rest makes a file complete, it is looked at now; it has not rested since.
        at_once = self._spec.complete in ("marker", "rename", "checksum", "manifest")
        for sighting in scan.sightings:
            version = None if at_once else sighting.version
            self._candidates.see(sighting.path, version, complete=at_once)
        if scan.truncated:
            self._candidates.expect_scan()
        if scan.error:
            self._health.report(Fault.LISTING, f"cannot be listed: {scan.error}")
        elif not scan.truncated:
            self._health.mend(Fault.LISTING)

    async def _keep_watch(self, root: _Root, *, timed: bool) -> None:
        """Get a watch where none is, or where the one there is watches something that was replaced."""
        if self._watch is not None:
            if self._watch.is_watching(root.identity):
                return
            old, self._watch = self._watch, None
            await self._in_thread(old.stop)
        if self._spec.watch == "polling":
            self._poll("it is configured so")
            return
        if self._spec.watch == "auto" and mounts.tells_nothing(root.kind):
            self._poll(f"{root.kind} does not tell of changes", fault=True)
            return
        self._attempt_in -= timed
        if self._attempt_in <= 0:
            await self._get_watch()

    async def _get_watch(self) -> None:
        new = Watch(self._spec.path, on_hint=self._pass_hint, on_loss=self._pass_loss)
        try:
            await self._in_thread(new.start)
        except OSError as error:
            self._give_up(f"no watch, scanning only: {error.strerror or error}")
            return
        self._probe = Probe(self._spec.path)
        if not await self._probe.is_told(self._threads):
            await self._in_thread(new.stop)
            self._give_up("the file system told nothing of a file made for a test")
            return
        self._watch = new
        self._attempt_in, self._attempt_every = 0, 1
        self._health.mend(Fault.WATCH)
        self.mode = "events"

    def _give_up(self, reason: str) -> None:
        """No watch for now; tried again after more and more scans."""
        self._poll(reason, fault=True)
        self._attempt_in = self._attempt_every
        self._attempt_every = min(self._attempt_every * 2, MOST_SCANS_WITHOUT_ATTEMPT)

    def _poll(self, reason: str, *, fault: bool = False) -> None:
        if self.mode != "polling":
            self.mode = "polling"
            facts = {"source": self._spec.name, "reason": reason, "seconds": self._interval()}
            logger.info("source.polling", extra=facts)
        if fault:
            self._health.report(Fault.WATCH, reason)

    def _pass_hint(self, hint: Hint) -> None:
        """In the watch's thread: the loop may be closed already, and is woken once for many hints."""
        self._hints.append(hint)
        if not self._is_woken:
            self._is_woken = True
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._take_hints)

    def _pass_loss(self) -> None:
        """In the watch's thread: hints were lost."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._wanted.set)

    def _take_hints(self) -> None:
        """Some of the hints that wait; the loop has its turn before the next ones."""
        self._is_woken = False  # before the first is taken: whoever adds one from now on wakes again
        for _ in range(min(len(self._hints), HINTS_AT_ONCE)):
            self._take_hint(self._hints.popleft())
        if self._hints and not self._is_woken:
            self._is_woken = True
            self._loop.call_soon(self._take_hints)

    def tell(self, hint: Hint) -> None:
        """A file changed (called in the event loop)."""
        self._take_hint(hint)

    def _take_hint(self, hint: Hint) -> None:
        if self._probe is not None and hint.path == self._probe.name:
            self._probe.told.set()
            return
        path = spoken_of(self._spec, self._selection.marked_by(hint.path))
        if path is None:
            self._wanted.set()
        elif self._selection.takes(path):
            self._candidates.see(path, None, complete=is_complete(self._spec, hint))

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await self._loop.run_in_executor(self._threads, work)
