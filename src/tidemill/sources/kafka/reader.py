"""One consumer from joining its group until it breaks: place, poll, decode, hand in.

1. Only the loop in `read` places partitions and takes records, so that none come from a place that was not
   meant. The rebalance listener only notes what was given and taken.
2. The loop keeps polling whatever happens (that keeps us in the group): a full backlog pauses partitions.
3. Records of partitions that are not ready are dropped; the ledger's cursor brings them back.
4. Records are handed in only when the topic still had the partition's topic id after they were fetched: those of a
   topic that was made again would otherwise pass for the ones that follow.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import KafkaConnectionError, KafkaError, NoOffsetForPartitionError, OffsetOutOfRangeError
from aiokafka.structs import TopicPartition

from tidemill.clock import Clock
from tidemill.errors import StorageError
from tidemill.project.kafka_source import topics_regex
from tidemill.project.model import KafkaSource
from tidemill.sources.kafka.batches import Batch, BatchDecoder
from tidemill.sources.kafka.commits import GroupCommits
from tidemill.sources.kafka.health import SILENCE_SECONDS, Health
from tidemill.sources.kafka.metadata import ClusterMetadata
from tidemill.sources.kafka.partitions import Partitions
from tidemill.sources.kafka.placement import Placement
from tidemill.sources.kafka.records import Decoder
from tidemill.sources.kafka.report import Report
from tidemill.sources.kafka.writer import Piece, Writer
from tidemill.storage.contract import EventLog, Ledger

__all__ = ["Reader"]

#: Most records of one transaction; decoding them is one uninterrupted piece of work in the event loop.
MAX_RECORDS = 1000

_POLL_SECONDS = 0.5
_IMPATIENT_POLL_SECONDS = 0.1
#: Time beyond its timeout after which a poll is given up (a rebalance that does not end).
_POLL_GRACE_SECONDS = 2.0
_STORE_RETRY_SECONDS = 1.0
#: Longest time in which nobody asks whether topics are still the same, in microseconds.
_LOOK_US = 1_000_000


class Reader:
    """Reads the partitions that the group gives this consumer into the log."""

    def __init__(
        self,
        spec: KafkaSource,
        consumer: Any,
        log: EventLog,
        ledger: Ledger,
        *,
        metadata: ClusterMetadata,
        decoder: Decoder,
        clock: Clock,
        report: Report,
    ) -> None:
        self._spec = spec
        self._consumer = consumer
        self._log = log
        self._metadata = metadata
        self._regex = topics_regex(spec)
        self._batches = BatchDecoder(decoder, clock=clock)
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
            metadata=metadata,
            clock=clock,
            partitions=self._partitions,
            found=self._writer.settle_doubts,
        )
        self._health = Health(spec, consumer, partitions=self._partitions, report=report)
        self._identified_at = clock.now_us()
        #: Ends of the partitions, asked for while they are paused and no fetch tells them.
        self._ends: dict[TopicPartition, int] = {}

    async def read(self) -> None:
        """Join the group; read until cancelled or broken off (`KafkaError`, `TimeoutError`)."""
        self._subscribe()
        is_prepared = False
        while True:
            self._raise_dead_client()
            try:
                if not is_prepared:
                    await self._placement.prepare()
                    is_prepared = True
                self._writer.raise_failure()
                await self._place()
            except StorageError as error:  # no cursor moved: read on from there, later
                self._report.stall(error)
                await self._clock.sleep(_STORE_RETRY_SECONDS)
                continue
            full = self._regulate()
            batch, answered = await self._poll(full)
            if batch:
                await self._writer.write(await self._decode_identified(batch))
            else:
                await self._note_positions()
            await self._look_at_topics(full)
            self._health.judge(full=full, answered=answered, absent=self._placement.absent)
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
            ends = [self._consumer.highwater(partition), self._ends.get(partition)]
            known = [end for end in ends if end is not None]
            if not known:
                return None
            total += max(0, max(known) - lane.position)
        return total if self._partitions.assigned else None

    def _raise_dead_client(self) -> None:
        """A client whose own task has died goes on without ever learning of new leaders."""
        task = self._consumer._client._sync_task  # noqa: SLF001 - nothing else tells
        if task is not None and task.done():
            raise KafkaConnectionError("the client has lost its way")

    def _subscribe(self) -> None:
        listener = _Listener(self._partitions, self._writer)
        if self._spec.topics_pattern is None:
            self._consumer.subscribe(list(self._spec.topics), listener=listener)
        else:
            self._consumer.subscribe(pattern=self._regex, listener=listener)

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
            self._health.note_silence(seconds + _POLL_GRACE_SECONDS)
            return {}, False
        self._health.note_silence(0.0 if batch else seconds)
        return batch, bool(batch)

    async def _decode_identified(self, batch: Batch) -> list[Piece]:
        """The records of topics that are still the ones they were (rule 4); decoded while the brokers are asked."""
        asked = asyncio.ensure_future(self._reopen_others({partition.topic for partition in batch}))
        try:
            await asyncio.sleep(0)  # the question is sent before the decoder holds everything up
            pieces = self._batches.decode(batch, self._partitions.ready)
            await asked
        finally:  # nothing of it outlives the reader
            asked.cancel()
            await asyncio.wait((asked,))
        return [piece for piece in pieces if self._partitions.holds(piece.partition, piece.lane)]

    async def _reopen_others(self, names: Iterable[str]) -> None:
        """Place partitions again whose topic is another one by now."""
        topics = await self._metadata.topics(names)
        self._identified_at = self._clock.now_us()
        for partition, lane in list(self._partitions.ready.items()):
            topic = topics.get(partition.topic)
            # While brokers are upgraded, one that knows no ids may answer: that says nothing.
            if topic is not None and topic.id not in {None, lane.topic_id}:
                self._partitions.reopen(partition, lane)

    async def _look_at_topics(self, full: bool) -> None:
        """What no record tells: topics made again while nothing comes, and how much waits while we are paused."""
        if not self._partitions.ready or 0 <= self._clock.now_us() - self._identified_at < _LOOK_US:
            return
        self._identified_at = self._clock.now_us()
        try:
            async with asyncio.timeout(SILENCE_SECONDS):
                await self._reopen_others({partition.topic for partition in self._partitions.ready})
                ours = self._consumer.assignment().intersection(self._partitions.ready)
                self._ends = await self._consumer.end_offsets(list(ours)) if full and ours else {}
        except TimeoutError:
            self._health.note_silence(SILENCE_SECONDS)
        except KafkaError:
            return  # the consumer tells more: it falls silent, or breaks

    async def _note_positions(self) -> None:
        """Step over what carries no record (transaction markers), so that the lag comes down to 0."""
        if self._writer.idle:
            for partition, lane in list(self._partitions.ready.items()):
                if self._consumer.assignment().issuperset((partition,)):
                    lane.position = max(lane.position, await self._consumer.position(partition))


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
