"""Putting the consumer where the ledger says: on assignment, and when a cursor turned out to have moved."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any

from aiokafka.structs import TopicPartition

from tidemill.clock import Clock, rfc3339
from tidemill.errors import CursorMoved
from tidemill.ids import new_id
from tidemill.project.model import KafkaSource
from tidemill.sources.kafka.partitions import Gap, Lane, Partitions, cursor_name, cursor_prefix, place
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
        cluster: str,
        clock: Clock,
        partitions: Partitions,
        found: Callable[[TopicPartition, str | None], None],
    ) -> None:
        """`found` is told where each partition's cursor was found to stand."""
        self._spec = spec
        self._consumer = consumer
        self._log = log
        self._ledger = ledger
        self._cluster = cluster
        self._clock = clock
        self._partitions = partitions
        self._found = found

    async def place_pending(self) -> None:
        """Place every pending partition; those taken from us meanwhile are left alone.

        Raises `StorageError` (try again), `KafkaError` or `TimeoutError` (the consumer is broken).
        """
        pending = self._partitions.pending
        begin, end = await self._offsets(pending)
        cursors: dict[str, str] = {}
        for topic in {partition.topic for partition in pending}:
            cursors.update(await self._cursors(topic))
        for partition in sorted(pending):
            name = cursor_name(self._spec.name, self._cluster, partition)
            self._found(partition, cursors.get(name))
            await self._place(partition, name, cursors.get(name), begin[partition], end[partition])

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

    async def _cursors(self, topic: str) -> dict[str, str]:
        prefix = cursor_prefix(self._spec.name, self._cluster, topic)
        cursors = await self._ledger.cursors(prefix)
        if cursors or self._spec.start == "earliest":
            return cursors
        await self._begin_at_latest(topic)
        return await self._ledger.cursors(prefix)

    async def _begin_at_latest(self, topic: str) -> None:
        """Fix "latest" once and durably, for every partition there is, whoever of the group gets it.

        So a restart before the first record loses nothing, and a partition added later (the only one without
        a cursor) is read from its beginning: what came before we saw it must not be lost.
        """
        numbers = sorted(self._consumer.partitions_for_topic(topic) or ())
        _, end = await self._offsets(TopicPartition(topic, number) for number in numbers)
        moves = [
            CursorMove(cursor_name(self._spec.name, self._cluster, partition), None, str(offset))
            for partition, offset in end.items()
        ]
        try:
            await self._log.append(self._job(moves))
        except CursorMoved:  # another consumer of the group was first
            return

    async def _place(
        self, partition: TopicPartition, name: str, cursor: str | None, begin: int, end: int
    ) -> None:
        found = place(cursor, begin, end)
        if found.gap is not None:
            moved = await self._record_gap(partition, CursorMove(name, cursor, str(found.offset)), found.gap)
            if not moved:
                return  # stays pending
            cursor = str(found.offset)
        if partition in self._partitions.pending and partition in self._consumer.assignment():
            self._consumer.seek(partition, found.offset)
            self._partitions.open(partition, Lane(name, cursor, found.offset))

    async def _record_gap(self, partition: TopicPartition, move: CursorMove, gap: Gap) -> bool:
        """Append the gap event with the cursor that steps over it; False when somebody else moved that."""
        event = gap_event(
            self._spec.name,
            self._cluster,
            partition.topic,
            partition.partition,
            gap,
            event_id=new_id(),
            time=rfc3339(self._clock.now_us()),
        )
        try:
            await self._log.append(self._job([move], [event]))
        except CursorMoved:
            return False
        place = {"topic": partition.topic, "partition": partition.partition, "offset": gap.expected}
        logger.error(
            "source.gap", extra={"source": self._spec.name, "reason": gap.reason, "coordinates": place}
        )
        return True

    def _job(self, moves: list[CursorMove], events: list[Any] | None = None) -> Append:
        return Append(
            events=events or [], cursors=moves, refuse_reuse=False, stage="kafka", origin=self._spec.name
        )
