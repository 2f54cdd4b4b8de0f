"""From landed files to the log, in batches.

Invariant 2: a version counts as announced after the commit that holds its event, never before. When an append
fails the batch is kept and tried again; identities make that safe.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from tidemill.clock import Clock
from tidemill.errors import EventRejected, StoreUnavailable
from tidemill.project.model import FileSource
from tidemill.sources.files import announcement
from tidemill.sources.files.archiving import Archiver, Done
from tidemill.sources.files.candidates import Candidates
from tidemill.sources.files.health import Fault, Health
from tidemill.sources.files.intake import CALL_FILES
from tidemill.sources.files.reader import Landed, Refused
from tidemill.sources.files.version import Announced
from tidemill.storage.contract import Append, Appended, EventLog

__all__ = ["Announcer", "Tally"]

logger = logging.getLogger(__name__)

#: Most files per append.
BATCH_FILES = 500
#: Seconds until a failed append is tried again: at first, and at most (doubling).
FIRST_RETRY_SECONDS, LAST_RETRY_SECONDS = 0.25, 10.0


@dataclass(slots=True)
class Tally:
    """What became of files since the process started."""

    accepted: int = 0
    duplicates: int = 0
    refused: int = 0
    last_event_at: int | None = None


class Announcer:
    """Appends what the intake read."""

    def __init__(
        self,
        spec: FileSource,
        log: EventLog,
        *,
        clock: Clock,
        announced: Announced,
        candidates: Candidates,
        health: Health,
        tally: Tally,
        archiver: Archiver | None = None,
    ) -> None:
        self._spec = spec
        self._log = log
        self._clock = clock
        self._announced = announced
        self._candidates = candidates
        self._health = health
        self._tally = tally
        self._archiver = archiver

    async def run(self, landed: asyncio.Queue[list[Landed | Refused]]) -> None:
        """Append until cancelled: as much at once as there is, when the log has room."""
        while True:
            batch = list(await landed.get())
            while len(batch) + CALL_FILES <= BATCH_FILES and not landed.empty():
                batch += landed.get_nowait()
            await self.announce(batch)
            for file in batch:
                self._candidates.drop(file.path)

    async def announce(self, batch: Sequence[Landed | Refused]) -> None:
        """Announce every file, however long it takes; one that the log refuses becomes a dead letter."""
        job = announcement.announce(self._spec, batch, at=self._clock.now_us())
        done = self._done_with(batch, job)
        try:
            if self._archiver is not None:
                self._archiver.expect(done)
            await self.append(job)
        except EventRejected as refusal:
            if len(batch) == 1:
                at = self._clock.now_us()
                await self.append(announcement.refuse(self._spec, batch[0], refusal, at=at))
                return
            for file in batch:
                await self.announce([file])
        else:
            if self._archiver is not None:
                self._archiver.announced(done)

    async def append(self, job: Append) -> None:
        """Append one job, again and again until it is on disk; raises `EventRejected` when it is refused."""
        delay = FIRST_RETRY_SECONDS
        while True:
            await self._log.wait_for_room()
            try:
                answers = await self._log.append(job)
                break
            except StoreUnavailable as error:
                self._health.report(Fault.STORE, f"the store takes nothing: {error}")
            await self._clock.sleep(delay)
            delay = min(delay * 2, LAST_RETRY_SECONDS)
        self._health.mend(Fault.STORE)
        for row in job.files:
            self._announced.add(row)
        self._count(job, answers)

    def _done_with(self, batch: Sequence[Landed | Refused], job: Append) -> list[Done]:
        """What the archive is told of a batch: each file that has an event."""
        if self._archiver is None:
            return []
        events = iter(job.events)
        return [
            Done(next(events).id, ((file.path, file.version),))
            for file in batch
            if isinstance(file, Landed) and announcement.has_event(self._spec, file)
        ]

    def _count(self, job: Append, answers: Sequence[Appended]) -> None:
        duplicates = sum(answer.duplicate for answer in answers)
        refused = sum(answer.position == 0 for answer in answers)
        accepted = len(answers) - duplicates - refused
        if accepted:
            self._tally.last_event_at = self._clock.now_us()
        self._tally.accepted += accepted
        self._tally.duplicates += duplicates
        self._tally.refused += len(job.dead_letters) + refused
        for letter in job.dead_letters:
            facts = {"source": self._spec.name, "code": letter.code, "coordinates": letter.coordinates}
            logger.warning("source.refused", extra=facts)
