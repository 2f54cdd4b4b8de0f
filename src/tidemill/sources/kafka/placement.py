"""Putting the consumer where the ledger says: on assignment, and when a cursor turned out to have moved.

1. A partition is placed only for a topic whose id was the same before and after its offsets were asked for.
2. What is gone is told by a gap event in the transaction that moves the cursor past it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from aiokafka.structs import TopicPartition

from tidemill.clock import Clock, rfc3339
from tidemill.errors import CursorMoved
from tidemill.events.event import Event
from tidemill.project.kafka_source import topics_regex
from tidemill.project.model import KafkaSource
from tidemill.sources.kafka.cursors import (
    Cursor,
    Mark,
    cursor_name,
    mark,
    read_cursors,
    retired,
    topic_prefix,
)
from tidemill.sources.kafka.metadata import ClusterMetadata, Topic
from tidemill.sources.kafka.partitions import Gap, Lane, Partitions, place
from tidemill.sources.kafka.records import gap_event
from tidemill.storage.contract import Append, CursorMove, EventLog, Ledger

__all__ = ["Placement"]

logger = logging.getLogger(__name__)

_OFFSETS_SECONDS = 10.0


class Placement:
    """Opens pending partitions at the ledger's cursor."""

    def __init__(
        self,
        spec: KafkaSource,
        consumer: Any,
        log: EventLog,
        ledger: Ledger,
        *,
        metadata: ClusterMetadata,
        clock: Clock,
        partitions: Partitions,
        found: Callable[[TopicPartition, str | None], None],
    ) -> None:
        """`found` is told where each partition's cursor was found to stand."""
        self._spec = spec
        self._consumer = consumer
        self._log = log
        self._ledger = ledger
        self._metadata = metadata
        self._cluster = metadata.cluster_id
        self._clock = clock
        self._partitions = partitions
        self._found = found
        #: Pending partitions whose topic does not exist now.
        self.absent: frozenset[TopicPartition] = frozenset()

    async def prepare(self) -> None:
        """Fix "latest" for every topic that a pattern means now; those made later are read from their beginning.

        Whoever reads topics that nobody has named yet learns of them late, and what came before must not be lost.
        """
        if self._spec.topics_pattern is None or self._spec.start == "earliest":
            return
        name = f"kafka-latest/{self._spec.name}/{self._cluster}"
        if await self._ledger.cursor(name) is not None:
            return
        fits = topics_regex(self._spec)
        topics = [one for one in (await self._metadata.topics()).values() if fits.match(one.name)]
        moves = [CursorMove(name, None, rfc3339(self._clock.now_us()))]
        for topic in topics:
            if not await self._cursors(topic.name):
                moves += await self._latest(topic)
        await self._append(moves)  # or another consumer of the group was first

    async def place_pending(self) -> None:
        """Place every pending partition; those taken from us meanwhile are left alone.

        Raises `StorageError` (try again), `KafkaError` or `TimeoutError` (the consumer is broken).
        """
        pending = self._partitions.pending
        topics = await self._metadata.topics({partition.topic for partition in pending})
        there = [one for one in sorted(pending) if _has(topics, one)]
        self.absent = pending.difference(there)
        if not there:
            return
        begin, end = await self._offsets(there)
        if await self._metadata.topics(topics) != topics:
            return  # made again just now: the next look knows what the offsets belong to
        for topic in topics.values():
            cursors = await self._cursors_to_go_by(topic)
            await self._tell_lost_partitions(topic, cursors)
            for partition in (one for one in there if one.topic == topic.name):
                await self._place(partition, topic, cursors, begin[partition], end[partition])

    async def _offsets(
        self, partitions: Iterable[TopicPartition]
    ) -> tuple[dict[TopicPartition, int], dict[TopicPartition, int]]:
        """The earliest offset of each partition, and the one after the last."""
        async with asyncio.timeout(_OFFSETS_SECONDS):
            asked = list(partitions)
            begin, end = await asyncio.gather(  # at once: either may wait behind a fetch that is under way
                self._consumer.beginning_offsets(asked), self._consumer.end_offsets(asked)
            )
        return begin, end

    async def _cursors(self, topic: str) -> list[Cursor]:
        found = await self._ledger.cursors(topic_prefix(self._spec.name, self._cluster, topic))
        read = read_cursors(found, self._spec.name, self._cluster)
        return [cursor for cursor in read if cursor.topic == topic]

    async def _cursors_to_go_by(self, topic: Topic) -> list[Cursor]:
        """The topic's cursors. "Latest" is fixed once and durably, for every partition there is.

        So a restart before the first record loses nothing, and a partition added later (the only one without
        a cursor) is read from its beginning: what came before we saw it must not be lost.
        """
        cursors = await self._cursors(topic.name)
        is_named = topic.name in self._spec.topics
        if cursors or self._spec.start == "earliest" or not is_named:
            return cursors
        await self._append(await self._latest(topic))  # or another consumer of the group was first
        return await self._cursors(topic.name)

    async def _latest(self, topic: Topic) -> list[CursorMove]:
        _, end = await self._offsets(
            TopicPartition(topic.name, number) for number in sorted(topic.partitions)
        )
        return [
            CursorMove(cursor_name(self._spec.name, self._cluster, one, topic.id), None, str(offset))
            for one, offset in end.items()
        ]

    async def _tell_lost_partitions(self, topic: Topic, cursors: Collection[Cursor]) -> None:
        """A topic that was made again with fewer partitions: nobody is ever given the others."""
        for cursor in cursors:
            if cursor.offset is None or topic.id in {None, cursor.topic_id}:
                continue
            if cursor.partition in topic.partitions:
                continue  # is placed
            partition = TopicPartition(topic.name, cursor.partition)
            move = CursorMove(cursor.name, cursor.value, retired(cursor, is_lost=True))
            gap = Gap(cursor.offset, None, None, "recreated")
            await self._record_gap(partition, topic, gap, [move])

    async def _place(
        self, partition: TopicPartition, topic: Topic, cursors: Sequence[Cursor], begin: int, end: int
    ) -> None:
        at = mark(cursors, self._spec.name, self._cluster, partition, topic_id=topic.id)
        self._found(partition, at.value if at.earlier is None else at.earlier.value)
        cursor = at.value
        if at.earlier is not None:
            cursor = await self._take_over(partition, topic, at, at.earlier, begin, end)
            if cursor is None:
                return  # stays pending
        found = place(cursor, begin, end, is_same_topic=topic.id is not None)
        if found.gap is not None:
            moved = await self._record_gap(
                partition, topic, found.gap, [CursorMove(at.name, cursor, str(found.offset))]
            )
            if not moved:
                return  # stays pending
            cursor = str(found.offset)
        elif cursor is None:  # written down before the first record: what is gone until then was ours to read
            if not await self._append([CursorMove(at.name, None, str(found.offset))]):
                return  # stays pending
            cursor = str(found.offset)
        if partition in self._partitions.pending and partition in self._consumer.assignment():
            self._consumer.seek(partition, found.offset)
            lane = Lane(at.name, cursor, found.offset, topic.id, at.incarnation)
            self._partitions.open(partition, lane)

    async def _take_over(
        self, partition: TopicPartition, topic: Topic, at: Mark, earlier: Cursor, begin: int, end: int
    ) -> str | None:
        """Put the topic's own cursor in the place of an earlier one; None when somebody else did."""
        expected = int(earlier.value)
        if not earlier.topic_id and expected <= end:  # the same topic, as far as anybody can tell
            moves = [
                CursorMove(earlier.name, earlier.value, retired(earlier, is_lost=False)),
                CursorMove(at.name, None, earlier.value),
            ]
            return earlier.value if await self._append(moves) else None
        moves = [
            CursorMove(earlier.name, earlier.value, retired(earlier, is_lost=True)),
            CursorMove(at.name, None, str(begin)),
        ]
        gap = Gap(expected, begin, end, "recreated")
        await self._record_gap(partition, topic, gap, moves)
        return None  # placed by the next look, which finds what was written

    async def _record_gap(
        self, partition: TopicPartition, topic: Topic, gap: Gap, moves: list[CursorMove]
    ) -> bool:
        """Append the gap event with the cursors that step over it; False when somebody else moved those."""
        event = gap_event(
            self._spec.name,
            self._cluster,
            partition,
            gap,
            at_us=self._clock.now_us(),
            topic_id=topic.id,
        )
        if not await self._append(moves, [event]):
            return False
        where = {"topic": partition.topic, "partition": partition.partition, "offset": gap.expected}
        logger.error(
            "source.gap", extra={"source": self._spec.name, "reason": gap.reason, "coordinates": where}
        )
        return True

    async def _append(self, moves: list[CursorMove], events: Sequence[Event] = ()) -> bool:
        """False when somebody else has moved one of the cursors."""
        job = Append(
            events=list(events), cursors=moves, refuse_reuse=False, stage="kafka", origin=self._spec.name
        )
        try:
            await self._log.append(job)
        except CursorMoved:
            return False
        return True


def _has(topics: Mapping[str, Topic], partition: TopicPartition) -> bool:
    topic = topics.get(partition.topic)
    return topic is not None and partition.partition in topic.partitions
