"""One consumer from joining its group until it breaks: place, poll, decode, hand in.

1. Only the loop in `read` places partitions and takes records, so that none come from a place that was not
   meant. The rebalance listener only notes what was given and taken.
2. The loop keeps polling whatever happens (that keeps us in the group): a full backlog pauses partitions.
3. Records of partitions that are not ready are dropped; the ledger's cursor brings them back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import NoOffsetForPartitionError, OffsetOutOfRangeError
from aiokafka.structs import TopicPartition

from tidemill.clock import Clock
from tidemill.errors import EventRejected, StorageError
from tidemill.ids import new_id
from tidemill.project.model import KafkaSource
from tidemill.sources.kafka.commits import GroupCommits
from tidemill.sources.kafka.partitions import Lane, Partitions
from tidemill.sources.kafka.placement import Placement
from tidemill.sources.kafka.records import Decoder, KafkaRecord
from tidemill.sources.kafka.report import Report
from tidemill.sources.kafka.writer import Piece, Writer
from tidemill.storage.contract import DeadLetter, EventLog, Ledger

__all__ = ["Reader"]

#: Most records of one transaction; decoding them is one uninterrupted piece of work in the event loop.
MAX_RECORDS = 1000

_POLL_SECONDS = 0.5
_IMPATIENT_POLL_SECONDS = 0.1
#: Time beyond its timeout after which a poll is given up (a rebalance that does not end).
_POLL_GRACE_SECONDS = 2.0
#: Time without an answer of any broker after which the source is stalled.
_SILENCE_SECONDS = 3.0
_STORE_RETRY_SECONDS = 1.0

Batch = Mapping[TopicPartition, Sequence[KafkaRecord]]


class Reader:
    """Reads the partitions that the group gives this consumer into the log."""

    def __init__(
        self,
        spec: KafkaSource,
        consumer: Any,
        log: EventLog,
        ledger: Ledger,
        *,
        decoder: Decoder,
        clock: Clock,
        report: Report,
    ) -> None:
        self._spec = spec
        self._consumer = consumer
        self._log = log
        self._decoder = decoder
        self._clock = clock
        self._report = report
        self._partitions = Partitions()
        self._commits = GroupCommits(consumer, clock=clock)
        self._writer = Writer(log, self._partitions, origin=spec.name, report=report, commits=self._commits)
        self._placement = Placement(
            spec,
            consumer,
            log,
            ledger,
            cluster=decoder.cluster,
            clock=clock,
            partitions=self._partitions,
            found=self._writer.settle_doubts,
        )
        self._last_answers: dict[TopicPartition, int | None] = {}
        self._silent_seconds = 0.0

    async def read(self) -> None:
        """Join the group; read until cancelled or broken off (`KafkaError`, `TimeoutError`)."""
        self._consumer.subscribe(list(self._spec.topics), listener=_Listener(self._partitions, self._writer))
        while True:
            try:
                self._writer.raise_failure()
                await self._place()
            except StorageError as error:  # no cursor moved: read on from there, later
                self._report.stall(error)
                await self._clock.sleep(_STORE_RETRY_SECONDS)
                continue
            full = self._regulate()
            batch, answered = await self._poll(full)
            if batch:
                await self._writer.write(self._decode(batch))
            else:
                await self._note_positions()
            self._watch(full, answered)
            self._commits.commit_nowait()

    async def close(self) -> None:
        """Let appends end, then tell the group how far they got."""
        await self._writer.close()
        await self._commits.close()
        self._partitions.clear()

    def lag(self) -> int | None:
        """Records of our partitions that are not in the log yet; None while unknown."""
        total = 0
        for partition, lane in self._partitions.ready.items():
            if not self._consumer.assignment().issuperset((partition,)):
                continue
            end = self._consumer.highwater(partition)
            if end is None:
                return None
            total += max(0, end - lane.position)
        return total if self._partitions.assigned else None

    async def _place(self) -> None:
        if self._partitions.pending:
            await self._writer.drain()
            await self._placement.place_pending()

    def _regulate(self) -> bool:
        """Pause while the backlog is full, resume when it has room; True while paused."""
        full = self._log.overload() is not None
        paused = self._consumer.paused()
        if full:
            self._consumer.pause(*(set(self._partitions.ready) - paused))
        elif paused:
            self._consumer.resume(*paused)
        return full

    async def _poll(self, full: bool) -> tuple[Batch, bool]:
        """The next records, and whether anything was heard."""
        patient = self._partitions.ready and not full
        seconds = _POLL_SECONDS if patient else _IMPATIENT_POLL_SECONDS
        try:
            async with asyncio.timeout(seconds + _POLL_GRACE_SECONDS):
                batch = await self._consumer.getmany(timeout_ms=int(seconds * 1000), max_records=MAX_RECORDS)
        except OffsetOutOfRangeError as error:
            for partition in error.args[0]:
                self._partitions.reopen(partition)
            return {}, True
        except NoOffsetForPartitionError:  # fetched before it was placed
            return {}, True
        except TimeoutError:
            self._silent_seconds += seconds + _POLL_GRACE_SECONDS
            return {}, False
        self._silent_seconds += 0.0 if batch else seconds
        return batch, bool(batch)

    def _decode(self, batch: Batch) -> list[Piece]:
        ready = self._partitions.ready
        return [
            self._decode_partition(partition, ready[partition], records)
            for partition, records in batch.items()
            if partition in ready
        ]

    def _decode_partition(
        self, partition: TopicPartition, lane: Lane, records: Sequence[KafkaRecord]
    ) -> Piece:
        events, letters = [], []
        decode = self._decoder.decode
        for record in records:
            try:
                events.append(decode(record))
            except EventRejected as error:
                letters.append(self._bury(record, error))
        return Piece(partition, lane, events, letters, records[-1].offset + 1)

    def _bury(self, record: KafkaRecord, error: EventRejected) -> DeadLetter:
        return self._decoder.dead_letter(record, error, letter_id=new_id(), at=self._clock.now_us())

    async def _note_positions(self) -> None:
        """Step over what carries no record (transaction markers), so that the lag comes down to 0."""
        if self._writer.idle:
            for partition, lane in list(self._partitions.ready.items()):
                if self._consumer.assignment().issuperset((partition,)):
                    lane.position = max(lane.position, await self._consumer.position(partition))

    def _watch(self, full: bool, answered: bool) -> None:
        """Judge how we are doing: brokers answer each fetch, also an empty one, within half a second."""
        ours = self._consumer.assignment()
        answers = {
            each: self._consumer.last_poll_timestamp(each) for each in self._partitions.ready if each in ours
        }
        if answered or full or answers != self._last_answers or (self._partitions.assigned and not answers):
            self._silent_seconds = 0.0
        self._last_answers = answers
        if self._silent_seconds >= _SILENCE_SECONDS:
            self._report.stall("the brokers do not answer")
        elif self._silent_seconds == 0.0 and self._partitions.assigned and not self._partitions.pending:
            self._tell_health(full)

    def _tell_health(self, full: bool) -> None:
        missing = [topic for topic in self._spec.topics if not self._consumer.partitions_for_topic(topic)]
        if full:
            self._report.degrade("the backlog is full; partitions are paused")
        elif missing:
            self._report.degrade(f"no such topic: {', '.join(missing)}")
        else:
            self._report.live()


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is not typed
    """What the group gives and takes."""

    def __init__(self, partitions: Partitions, writer: Writer) -> None:
        self._partitions = partitions
        self._writer = writer

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        self._partitions.revoke(revoked)
        await self._writer.drain()  # the next owner then finds our cursors where we leave off

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        self._partitions.assign(assigned)
