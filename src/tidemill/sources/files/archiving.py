"""Which files are done with, and moving them into the archive one after the other.

Rules:
1. Done with: their event is in the log (`announced`), or every run that it started, at least one, has succeeded
   (`succeeded`). Nothing else is remembered: a file that is still in the folder and was announced is asked for
   again after a restart, and by every scan.
2. A move that fails is told as a fault and tried again after the next scan finds the file.
3. Files that must be found by the tasks of `announced` have a place that follows from their event: it says which.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from concurrent.futures import Executor
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

from tidemill.clock import Clock
from tidemill.errors import StorageError
from tidemill.events.event import LoggedEvent
from tidemill.events.lifecycle import Type
from tidemill.project.model import FileSource
from tidemill.sources.files.health import Fault, Health
from tidemill.sources.files.moving import move
from tidemill.sources.files.version import Version
from tidemill.storage.contract import EventLog, RunStore

__all__ = ["Archiver", "Done", "archived_to"]

#: Characters of an event's id in the archive's names.
_MARK = 12
_READ = 512
_RETRY_SECONDS = 1.0
_SUCCEEDED = "succeeded"
_FAILED = frozenset({"failed", "cancelled"})


class _Answer(Enum):
    """Whether the files of an event are done with."""

    DONE = auto()
    #: A run failed for good, or the event started none.
    NEVER = auto()
    LATER = auto()


@dataclass(frozen=True, slots=True)
class Done:
    """What one event announced."""

    event_id: str
    files: tuple[tuple[str, Version], ...]


def archived_to(spec: FileSource, event_id: str, path: str) -> str | None:
    """Where a file is after its announcement; None for a source that moves nothing then."""
    if spec.archive is None or spec.archive.when != "announced":
        return None
    return str(spec.archive.folder / event_id[:_MARK] / path)


class Archiver:
    """The archive of one source."""

    def __init__(
        self,
        spec: FileSource,
        folder: Path,
        log: EventLog,
        runs: RunStore | None,
        *,
        clock: Clock,
        health: Health,
        threads: Executor,
        companions: tuple[str, ...] = (),
    ) -> None:
        """`companions` are endings of names of files that go along."""
        self._spec = spec
        self._folder = folder
        self._at_once = spec.archive is not None and spec.archive.when == "announced"
        self._log = log
        self._runs = runs
        self._clock = clock
        self._health = health
        self._threads = threads
        self._companions = companions
        self._loop = asyncio.get_running_loop()
        #: Announced or about to be, by event.
        self._pending: dict[str, Done] = {}
        self._asked: set[str] = set()
        self._questions: asyncio.Queue[str] = asyncio.Queue()
        self._moves: asyncio.Queue[Done] = asyncio.Queue()

    def expect(self, done: Iterable[Done]) -> None:
        """These are about to be announced: told before the commit, so that no run can end unseen."""
        if not self._at_once:
            self._pending.update((each.event_id, each) for each in done)

    def announced(self, done: Iterable[Done]) -> None:
        """These are in the log."""
        if self._at_once:
            for each in done:
                self._moves.put_nowait(each)

    def found(self, done: Done) -> None:
        """These were announced before and are still in the folder; asking again changes nothing."""
        if done.event_id in self._asked:
            return
        self._asked.add(done.event_id)
        if self._at_once:
            self._moves.put_nowait(done)
        else:
            self._pending[done.event_id] = done
            self._questions.put_nowait(done.event_id)

    def found_in_thread(self, done: Done) -> None:
        """`found`, from another thread."""
        self._loop.call_soon_threadsafe(self.found, done)

    async def run(self) -> None:
        """Move what is done with, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._move_forever())
            if not self._at_once and self._runs is not None:
                tasks.create_task(self._follow(self._runs))
                tasks.create_task(self._answer(self._runs))

    async def _follow(self, runs: RunStore) -> None:
        """Look at every run that ends, from now on."""
        position = self._log.head
        while True:
            await self._log.wait_for_event(position)
            try:
                events = await self._log.read(position, _READ)
            except StorageError:
                await self._clock.sleep(_RETRY_SECONDS)
                continue
            for logged in events:
                if (cause := self._cause(logged)) is not None:
                    self._questions.put_nowait(cause)
                position = logged.position

    def _cause(self, logged: LoggedEvent) -> str | None:
        """The id of our event that started the run which this event says has succeeded."""
        if logged.event.type != Type.RUN_SUCCEEDED:
            return None
        cause = logged.event.data["event"]
        is_ours = cause["source"] == self._source and cause["id"] in self._pending
        return str(cause["id"]) if is_ours else None

    async def _answer(self, runs: RunStore) -> None:
        while True:
            event_id = await self._questions.get()
            try:
                answer = await self._ask(runs, event_id)
            except StorageError:
                await self._clock.sleep(_RETRY_SECONDS)
                self._questions.put_nowait(event_id)
                continue
            if answer is _Answer.LATER:
                self._asked.discard(event_id)
                continue
            done = self._pending.pop(event_id, None)
            if answer is _Answer.DONE and done is not None:
                self._moves.put_nowait(done)
            # What is never done with stays among the asked: no scan asks again.

    async def _ask(self, runs: RunStore, event_id: str) -> _Answer:
        logged = await self._log.find(self._source, event_id)
        if logged is None or self._log.routed < logged.position:
            return _Answer.LATER
        dispositions = await runs.dispositions(logged.position)
        started = [each.run_id for each in dispositions if each.run_id is not None]
        states = {None if (run := await runs.get(run_id)) is None else run.state for run_id in started}
        # What was gathered with other events (debounced, batched, joined, coalesced into a run) may get its run later.
        gathered = any(each.run_id is None and each.kind.endswith("_into") for each in dispositions)
        if not states.isdisjoint(_FAILED) or not (states or gathered):
            return _Answer.NEVER
        return _Answer.DONE if states == {_SUCCEEDED} and not gathered else _Answer.LATER

    async def _move_forever(self) -> None:
        while True:
            done = await self._moves.get()
            try:
                await self._loop.run_in_executor(self._threads, self._move, done)
            except OSError as error:
                self._health.report(Fault.ARCHIVE, f"a file cannot be archived: {error.strerror or error}")
            else:
                self._health.mend(Fault.ARCHIVE)
            self._asked.discard(done.event_id)

    def _move(self, done: Done) -> None:
        """In a thread: the files of one event, then what goes along with them."""
        for path, version in done.files:
            self._move_one(done, path, version)
        for path, _ in done.files:
            for ending in self._companions:
                self._move_one(done, path + ending, None)

    def _move_one(self, done: Done, path: str, version: Version | None) -> None:
        mark = done.event_id[:_MARK]
        place = f"{mark}/{path}" if self._at_once else path
        try:
            move(self._spec.path, path, version, archive=self._folder, place=place, mark=mark)
        except FileNotFoundError:
            return  # a folder on the way is gone, and the file with it

    @property
    def _source(self) -> str:
        return self._spec.event_source or f"/tidemill/sources/{self._spec.name}"
