"""What was read goes into the log, with the cursor that says so, while the next records are being fetched.

1. One transaction takes a batch whole: its events, its dead letters and the cursor of each of its partitions.
2. Appends are handed in in the order of reading. Each expects the cursor that the one before it leaves: when
   one fails, the log itself refuses those behind it, and nothing is stepped over.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from aiokafka.structs import TopicPartition

from tidemill.errors import CursorMoved
from tidemill.events.event import Event
from tidemill.sources.kafka.commits import GroupCommits
from tidemill.sources.kafka.partitions import Lane, Partitions
from tidemill.sources.kafka.report import Report
from tidemill.storage.contract import Append, Appended, CursorMove, DeadLetter, EventLog

__all__ = ["Piece", "Writer"]

logger = logging.getLogger(__name__)

#: Appends in flight at once: one being committed, one waiting behind it.
MAX_APPENDS = 2
#: Longest wait for the store when the stage is stopped.
_CLOSE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Piece:
    """The part of a batch that came from one partition, in order."""

    partition: TopicPartition
    lane: Lane
    events: Sequence[Event]
    letters: Sequence[DeadLetter]
    #: Offset after the last record.
    end: int


class Writer:
    """The appends of one source, in flight."""

    def __init__(
        self, log: EventLog, partitions: Partitions, *, origin: str, report: Report, commits: GroupCommits
    ) -> None:
        self._log = log
        self._partitions = partitions
        self._origin = origin
        self._report = report
        self._commits = commits
        self._in_flight: deque[asyncio.Task[None]] = deque()
        self._error: Exception | None = None
        #: Pieces whose append failed: nobody knows yet whether it was committed.
        self._doubts: dict[TopicPartition, list[Piece]] = {}

    @property
    def idle(self) -> bool:
        """True when nothing is in flight."""
        return all(append.done() for append in self._in_flight)

    async def write(self, pieces: Sequence[Piece]) -> None:
        """Hand a batch in, as soon as there is room; pieces of partitions lost meanwhile are left out."""
        await self._settle(MAX_APPENDS - 1)
        held = [piece for piece in pieces if self._partitions.holds(piece.partition, piece.lane)]
        if not held:
            return
        job = self._job(held)
        for piece in held:
            piece.lane.cursor = str(piece.end)
        self._in_flight.append(asyncio.create_task(self._append(job, held)))

    async def drain(self) -> None:
        """Return when nothing is in flight."""
        await self._settle(0)

    async def close(self) -> None:
        """Let appends end; those that the store keeps waiting are given up, the cursor tells their fate."""
        if self._in_flight:
            _, hung = await asyncio.wait(self._in_flight, timeout=_CLOSE_SECONDS)
            for append in hung:
                append.cancel()
        await self.drain()

    def settle_doubts(self, partition: TopicPartition, cursor: str | None) -> None:
        """Count what was committed although its answer was lost, now that the partition's cursor is known."""
        for piece in self._doubts.pop(partition, ()):
            if cursor is not None and int(cursor) >= piece.end:
                self._report.count([Appended(1)] * len(piece.events), len(piece.letters))
                self._tell_refusals(piece.letters)

    def raise_failure(self) -> None:
        """Raise what an append met, once: a `StorageError` (its partitions are pending again), or a bug."""
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _job(self, pieces: Sequence[Piece]) -> Append:
        return Append(
            events=[event for piece in pieces for event in piece.events],
            cursors=[CursorMove(piece.lane.name, piece.lane.cursor, str(piece.end)) for piece in pieces],
            dead_letters=[letter for piece in pieces for letter in piece.letters],
            refuse_reuse=False,
            stage="kafka",
            origin=self._origin,
        )

    async def _append(self, job: Append, pieces: Sequence[Piece]) -> None:
        try:
            answers = await self._log.append(job)
        except CursorMoved:  # another consumer has the partition, or an append before this one failed
            self._reopen(pieces)
        except Exception as error:  # kept for the reader, which decides (`raise_failure`)
            self._error = error
            for piece in pieces:
                self._doubts.setdefault(piece.partition, []).append(piece)
            self._reopen(pieces)
        else:
            for piece in pieces:
                piece.lane.position = piece.end
                self._commits.note(piece.partition, piece.end)
            self._report.count(answers, len(job.dead_letters))
            self._tell_refusals(job.dead_letters)

    def _reopen(self, pieces: Sequence[Piece]) -> None:
        for piece in pieces:
            self._partitions.reopen(piece.partition, piece.lane)

    def _tell_refusals(self, letters: Sequence[DeadLetter]) -> None:
        first_of: dict[str, DeadLetter] = {}
        for letter in letters:
            first_of.setdefault(letter.code, letter)
        for letter in first_of.values():
            place = {name: letter.coordinates[name] for name in ("topic", "partition", "offset")}
            facts = {"source": self._origin, "code": letter.code, "coordinates": place}
            logger.warning("source.refused", extra=facts)

    async def _settle(self, limit: int) -> None:
        """Wait until at most `limit` appends are in flight; never cancels them, whoever is cancelled."""
        while len(self._in_flight) > limit:
            oldest = self._in_flight[0]
            await asyncio.wait((oldest,))
            if self._in_flight and self._in_flight[0] is oldest:
                self._in_flight.popleft()
