"""The stage: a watched folder becomes events, one per settled version of a file.

Composed here: the lookout sees files, candidates wait, the intake reads them, the announcer appends. The
parts share candidates and the memory of what was announced, and nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress

from tidemill.clock import Clock
from tidemill.errors import StorageError
from tidemill.project.model import FileSource
from tidemill.sources.contract import SourceState, SourceStatus
from tidemill.sources.files import announcement
from tidemill.sources.files.announcer import Announcer, Tally
from tidemill.sources.files.archiving import Archiver, Done
from tidemill.sources.files.assembly import Assembly
from tidemill.sources.files.candidates import Candidates
from tidemill.sources.files.gatherings import gathering_for
from tidemill.sources.files.health import Fault, Health
from tidemill.sources.files.intake import READERS, Intake
from tidemill.sources.files.lookout import Lookout
from tidemill.sources.files.scanner import Scanner
from tidemill.sources.files.sets import Held
from tidemill.sources.files.strategy import reader_of, selection_of
from tidemill.sources.files.version import Announced, Version
from tidemill.sources.files.watch import Hint
from tidemill.storage.contract import EventLog, Ledger, RunStore

__all__ = ["FileSourceStage"]

#: Files that may wait at once; further ones are left to later scans. About 500 bytes each.
MAX_CANDIDATES = 20_000
#: Seconds until a ledger that cannot be read is tried again.
LEDGER_RETRY_SECONDS = 1.0


class FileSourceStage:
    """One watched folder; a `sources.contract.Source`."""

    on_every_node = False

    def __init__(
        self,
        spec: FileSource,
        log: EventLog,
        ledger: Ledger,
        *,
        clock: Clock,
        scan_seconds: float,
        runs: RunStore | None = None,
        threads: Callable[[str], AbstractContextManager[Executor]] | None = None,
    ) -> None:
        """`runs` is read to learn when files can be archived; `threads(name)` is where files are read and moved."""
        self.name = spec.name
        self._spec = spec
        self._log = log
        self._ledger = ledger
        self._runs = runs
        self._threads = threads or _threads
        self._clock = clock
        self._scan_seconds = scan_seconds
        self._health = Health(spec.name)
        self._tally = Tally()
        self._candidates: Candidates | None = None
        self._lookout: Lookout | None = None
        self._held = Held()

    def status(self) -> SourceStatus:
        """How it is doing now; `lag` counts the files that were seen and are not announced."""
        waiting = None if self._candidates is None else len(self._candidates) + len(self._held)
        return SourceStatus(
            name=self.name,
            kind="files",
            state=self._health.state,
            accepted=self._tally.accepted,
            duplicates=self._tally.duplicates,
            refused=self._tally.refused,
            last_event_at=self._tally.last_event_at,
            lag=waiting,
            error=self._health.error,
            mode="" if self._lookout is None else self._lookout.mode,
        )

    def tell(self, hint: Hint) -> None:
        """Somebody who changed a file says so, as the watch would; says nothing to a source that does not run."""
        if self._lookout is not None:
            self._lookout.tell(hint)

    async def run(self) -> None:
        """Announce files until cancelled.

        Holds about 90 bytes per version that was ever announced. When it is cancelled, files that were not
        announced are found again by the scan of the next start.
        """
        self._health.become(SourceState.STARTING)
        with suppress(OSError):  # the first scan tries again and says what is wrong
            self._spec.path.mkdir(parents=True, exist_ok=True)
        try:
            await self._work(await self._remember())
        finally:
            self._candidates = self._lookout = None
            self._held = Held()
            self._health.become(SourceState.STOPPED)

    async def _remember(self) -> Announced:
        """What the ledger says was announced; waits for a ledger that cannot be read."""
        while True:
            announced = Announced(recalls=self._spec.file_set is not None)
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
        gathering = None if spec.file_set is None else gathering_for(spec)
        selection = selection_of(spec, gathering)
        scan_wanted = asyncio.Event()
        candidates = Candidates(
            clock, quiet_seconds=spec.quiet.total_seconds(), limit=MAX_CANDIDATES, on_room=scan_wanted.set
        )
        reader = reader_of(spec, announced, gathering, clock=clock)
        with self._threads(f"files-{self.name}") as threads:
            archiver = self._archiver(threads)
            intake = Intake(
                candidates, reader, health=health, threads=threads, on_folder_lost=scan_wanted.set
            )
            held = self._held

            def is_known(path: str, version: Version) -> bool:
                if path in candidates or path in intake.unreadable:
                    return True
                if (
                    gathering is not None
                ):  # announced files too: they may belong to a set that is not complete
                    return held.has(path, version)
                if not announced.has(path, version):
                    return False
                if archiver is not None:
                    event_id = announcement.file_event_id(spec, path, version)
                    archiver.found_in_thread(Done(event_id, ((path, version),)))
                return True

            scanner = Scanner(spec.path, selection, is_known=is_known)
            lookout = Lookout(
                spec,
                scanner,
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
                archiver=archiver,
            )
            announcing: Announcer | Assembly = announcer
            if gathering is not None:
                announcing = Assembly(
                    spec,
                    gathering,
                    held,
                    announcer=announcer,
                    announced=announced,
                    candidates=candidates,
                    scanner=Scanner(spec.path, selection, is_known=held.has),
                    clock=clock,
                    threads=threads,
                    archiver=archiver,
                )
            self._candidates, self._lookout = candidates, lookout
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(lookout.run())
                    tasks.create_task(intake.run())
                    tasks.create_task(announcing.run(intake.landed))
                    if archiver is not None:
                        tasks.create_task(archiver.run())
            finally:
                reader.stop()
                candidates.stop()

    def _archiver(self, threads: Executor) -> Archiver | None:
        spec = self._spec
        if spec.archive is None:
            return None
        endings = {"marker": (spec.marker,), "checksum": (spec.checksum,)}
        return Archiver(
            spec,
            spec.archive.folder,
            self._log,
            self._runs,
            clock=self._clock,
            health=self._health,
            threads=threads,
            companions=endings.get(spec.complete, ()),
        )


@contextmanager
def _threads(name: str) -> Iterator[ThreadPoolExecutor]:
    """Threads for one scan, every reader, a last look at a set and a move.

    A call that runs on ends by itself and is not waited for.
    """
    threads = ThreadPoolExecutor(READERS + 3, thread_name_prefix=name)
    try:
        yield threads
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
