"""The stage: a watched folder becomes events, one per settled version of a file.

Composed here: the lookout sees files, candidates wait, the intake reads them, the announcer appends. The
parts share candidates and the memory of what was announced, and nothing else.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

from tidemill.clock import Clock
from tidemill.errors import StorageError
from tidemill.project.model import FileSource
from tidemill.sources.contract import SourceState, SourceStatus
from tidemill.sources.files.announcer import Announcer, Tally
from tidemill.sources.files.candidates import Candidates
from tidemill.sources.files.health import Fault, Health
from tidemill.sources.files.intake import READERS, Intake
from tidemill.sources.files.lookout import Lookout
from tidemill.sources.files.reader import Reader
from tidemill.sources.files.scanner import Scanner
from tidemill.sources.files.selection import Selection
from tidemill.sources.files.version import Announced, Version
from tidemill.storage.contract import EventLog, Ledger

__all__ = ["FileSourceStage"]

logger = logging.getLogger(__name__)

#: Files that may wait at once; further ones are left to later scans. About 500 bytes each.
MAX_CANDIDATES = 20_000
#: Seconds until a ledger that cannot be read is tried again.
LEDGER_RETRY_SECONDS = 1.0


class FileSourceStage:
    """One watched folder; a `sources.contract.Source`."""

    on_every_node = False

    def __init__(
        self, spec: FileSource, log: EventLog, ledger: Ledger, *, clock: Clock, scan_seconds: float
    ) -> None:
        self.name = spec.name
        self._spec = spec
        self._log = log
        self._ledger = ledger
        self._clock = clock
        self._scan_seconds = scan_seconds
        self._health = Health(spec.name)
        self._tally = Tally()
        self._candidates: Candidates | None = None

    def status(self) -> SourceStatus:
        """How it is doing now; `lag` counts the files that were seen and are not announced."""
        return SourceStatus(
            name=self.name,
            kind="files",
            state=self._health.state,
            accepted=self._tally.accepted,
            duplicates=self._tally.duplicates,
            refused=self._tally.refused,
            last_event_at=self._tally.last_event_at,
            lag=None if self._candidates is None else len(self._candidates),
            error=self._health.error,
        )

    async def run(self) -> None:
        """Announce files until cancelled.

        Holds about 90 bytes per version that was ever announced. When it is cancelled, files that were not
        announced are found again by the scan of the next start.
        """
        self._health.become(SourceState.STARTING)
        with suppress(OSError):  # the first scan tries again and says what is wrong
            self._spec.path.mkdir(parents=True, exist_ok=True)
        try:
            announced = await self._remember()
            logger.info("source.started", extra={"source": self.name, "kind": "files"})
            await self._work(announced)
        finally:
            self._candidates = None
            self._health.become(SourceState.STOPPED)

    async def _remember(self) -> Announced:
        """What the ledger says was announced; waits for a ledger that cannot be read."""
        while True:
            announced = Announced()
            try:
                async for row in self._ledger.files(self.name):
                    announced.add(row)
            except StorageError as error:
                self._health.report(Fault.STORE, f"the ledger cannot be read: {error}")
                await self._clock.sleep(LEDGER_RETRY_SECONDS)
            else:
                self._health.mend(Fault.STORE)
                return announced

    async def _work(self, announced: Announced) -> None:
        spec, clock, health = self._spec, self._clock, self._health
        marker = spec.marker if spec.complete == "marker" else None
        selection = Selection(spec.include, spec.exclude, marker=marker)
        scan_wanted = asyncio.Event()
        candidates = Candidates(
            clock, quiet_seconds=spec.quiet.total_seconds(), limit=MAX_CANDIDATES, on_room=scan_wanted.set
        )
        reader = Reader(spec.path, announced, marker=marker, ask_writers=spec.complete == "close")
        with _threads(f"files-{self.name}") as threads:
            intake = Intake(
                candidates, reader, health=health, threads=threads, on_folder_lost=scan_wanted.set
            )

            def is_known(path: str, version: Version) -> bool:
                return path in candidates or path in intake.unreadable or announced.has(path, version)

            lookout = Lookout(
                spec,
                Scanner(spec.path, selection, is_known=is_known),
                candidates,
                selection=selection,
                clock=clock,
                scan_seconds=self._scan_seconds,
                health=health,
                threads=threads,
                wanted=scan_wanted,
                on_timed_scan=intake.forgive,
            )
            announcer = Announcer(
                spec,
                self._log,
                clock=clock,
                announced=announced,
                candidates=candidates,
                health=health,
                tally=self._tally,
            )
            self._candidates = candidates
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(lookout.run())
                    tasks.create_task(intake.run())
                    tasks.create_task(announcer.run(intake.landed))
            finally:
                reader.stop()
                candidates.stop()


@contextmanager
def _threads(name: str) -> Iterator[ThreadPoolExecutor]:
    """Threads for one scan and for every reader; a call that runs on ends by itself and is not waited for."""
    threads = ThreadPoolExecutor(READERS + 1, thread_name_prefix=name)
    try:
        yield threads
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
