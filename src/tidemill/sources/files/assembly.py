"""From landed files to announced sets: files are gathered, and a set that is complete is looked at once more.

Rules:
1. A set is announced only when every one of its files is still the version that landed, and (for a folder that says
   "all is there") when nothing in the folder is left that did not land.
2. The set and the versions of all its files go into the ledger with its event.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

from tidemill.clock import Clock
from tidemill.errors import EventRejected
from tidemill.project.model import FileSource
from tidemill.sources.files import announcement, folder
from tidemill.sources.files.announcer import Announcer
from tidemill.sources.files.archiving import Archiver, Done
from tidemill.sources.files.candidates import Candidates
from tidemill.sources.files.reader import Landed, Refused
from tidemill.sources.files.scanner import Scanner
from tidemill.sources.files.sets import FileSet, Gathering, Held
from tidemill.sources.files.version import Announced, is_text

__all__ = ["Assembly"]

#: Most sightings of a look at a folder that says "all is there": beyond it, it is not.
_MANY = 1_000_000


@dataclass(frozen=True, slots=True)
class _Look:
    """What a last look at a set found."""

    #: Files that are gone or are other versions by now.
    changed: tuple[str, ...] = ()
    #: Whether files are there that did not land.
    more: bool = False


class Assembly:
    """Announces the sets of one source."""

    def __init__(
        self,
        spec: FileSource,
        gathering: Gathering,
        held: Held,
        *,
        announcer: Announcer,
        announced: Announced,
        candidates: Candidates,
        scanner: Scanner,
        clock: Clock,
        threads: Executor,
        archiver: Archiver | None,
    ) -> None:
        self._spec = spec
        self._gathering = gathering
        self._held = held
        self._announcer = announcer
        self._announced = announced
        self._candidates = candidates
        self._scanner = scanner
        self._clock = clock
        self._threads = threads
        self._archiver = archiver

    async def run(self, landed: asyncio.Queue[list[Landed | Refused]]) -> None:
        """Gather until cancelled."""
        while True:
            batch = list(await landed.get())
            while not landed.empty():
                batch += landed.get_nowait()
            touched: dict[str, None] = {}
            for file in batch:
                if isinstance(file, Refused) or not is_text(file.path):
                    await self._announcer.announce([file])
                else:
                    touched.update(dict.fromkeys(self._gathering.put(file)))
                    self._held.put(file)
                self._candidates.drop(file.path)
            await self._try_all(touched)

    async def _try_all(self, keys: Iterable[str]) -> None:
        waiting = list(keys)
        while waiting:
            found = self._gathering.assemble(waiting.pop(0))
            if found is None:
                continue
            if self._announced.has(found.name, found.version):
                self._finish(found, again=True)
                continue
            look = await asyncio.get_running_loop().run_in_executor(self._threads, self._look, found)
            for path in look.changed:
                self._held.forget(path)
                waiting += [key for key in self._gathering.forget(path) if key not in waiting]
            if not look.changed and not look.more:
                await self._announce(found)

    def _look(self, found: FileSet) -> _Look:
        """In a thread: is everything of the set there as it landed, and nothing else?"""
        try:
            with folder.open_root(self._spec.path) as root:
                changed = tuple(
                    file.path
                    for file in found.all_files
                    if folder.version_at(root, file.path) != file.version
                )
            if changed or found.below is None:
                return _Look(changed)
            scan = self._scanner.scan(limit=_MANY, below=found.below)
        except OSError:
            return _Look(more=True)  # the folder is gone: the scan that follows says so
        more = any(self._gathering.owns(found.below, sighting.path) for sighting in scan.sightings)
        return _Look(more=more or scan.truncated or bool(scan.error))

    async def _announce(self, found: FileSet) -> None:
        try:
            if found.error:
                raise EventRejected("invalid_manifest", f"{found.key}: {found.error}")
            if found.wrong:
                raise EventRejected(
                    "digest_mismatch", f"{len(found.wrong)} files are not what {found.key} says"
                )
            job = announcement.announce_set(self._spec, found)
            if self._archiver is not None:
                self._archiver.expect([_done(found)])
            await self._announcer.append(job)
        except EventRejected as refusal:
            at = self._clock.now_us()
            await self._announcer.append(announcement.refuse_set(self._spec, found, refusal, at=at))
            self._held.finish(found)
        else:
            self._finish(found, again=False)

    def _finish(self, found: FileSet, *, again: bool) -> None:
        self._held.finish(found)
        if self._archiver is None or found.wrong or found.error:
            return
        if again:
            self._archiver.found(_done(found))
        else:
            self._archiver.announced([_done(found)])


def _done(found: FileSet) -> Done:
    files: Sequence[Landed] = found.all_files
    return Done(found.digest, tuple((file.path, file.version) for file in files))
