"""What the brokers have against what our cursors say, partition by partition. Reads only; joins no group."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.client import AIOKafkaClient
from aiokafka.structs import TopicPartition

from tidemill.project.kafka_source import topics_regex
from tidemill.project.model import KafkaSource
from tidemill.sources.kafka.cursors import Cursor, cluster_prefix, mark, read_cursors
from tidemill.sources.kafka.metadata import ClusterMetadata, Topic
from tidemill.storage.contract import Ledger

__all__ = ["LOST", "PartitionState", "Reconciled", "ReconciledPartition", "reconcile"]

_SECONDS = 15.0


class PartitionState(StrEnum):
    """How a partition's cursor stands to what the brokers have."""

    #: Everything that the brokers have is in the log.
    IN_STEP = "in_step"
    #: Records wait to be read; nothing is lost.
    BEHIND = "behind"
    #: There is no cursor yet.
    UNREAD = "unread"
    #: Records between the cursor and the beginning are gone.
    EXPIRED = "expired"
    #: The cursor is beyond the end: the brokers have lost records that we have.
    AHEAD = "ahead"
    #: The topic was made again; what was not read of the earlier one is gone.
    RECREATED = "recreated"
    #: The topic or the partition is gone.
    MISSING = "missing"


#: States in which something is lost.
LOST = frozenset(
    {PartitionState.EXPIRED, PartitionState.AHEAD, PartitionState.RECREATED, PartitionState.MISSING}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconciledPartition:
    """One partition."""

    topic: str
    partition: int
    state: PartitionState
    #: The next offset to be read; None: never read.
    cursor: int | None
    #: The earliest offset that the brokers have, and the one after the last; None where there is no partition.
    begin: int | None = None
    end: int | None = None
    #: Offsets that are there and not read yet.
    waiting: int | None = None
    #: Offsets that are known to be gone; None: nobody knows how many.
    lost: int | None = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciled:
    """A source against its cluster."""

    cluster: str
    partitions: list[ReconciledPartition]
    #: Topics that the source names and the cluster has not, and that were never read.
    unknown_topics: list[str]


async def reconcile(spec: KafkaSource, ledger: Ledger, *, connection: Mapping[str, Any]) -> Reconciled:
    """Compare; raises `KafkaError` or `TimeoutError` when the brokers do not answer."""
    async with asyncio.timeout(_SECONDS), ClusterMetadata(AIOKafkaClient(**connection)) as metadata:
        fits = topics_regex(spec)
        # Cursors are read first: brokers may then be ahead of them, which is what "behind" means.
        found = await ledger.cursors(cluster_prefix(spec.name, metadata.cluster_id))
        all_cursors = read_cursors(found, spec.name, metadata.cluster_id)
        cursors = [one for one in all_cursors if fits.match(one.topic)]
        topics = {
            name: topic
            for name, topic in (await metadata.topics()).items()
            if fits.match(name) and (not topic.is_internal or name in spec.topics)
        }
        begin, end = await _offsets(topics.values(), connection)
    there = [
        _compare(spec, metadata.cluster_id, topics[one.topic], one, cursors, begin[one], end[one])
        for one in sorted(begin)
    ]
    gone = [
        _missing(one)
        for one in cursors
        if one.offset is not None and TopicPartition(one.topic, one.partition) not in begin
    ]
    read = {cursor.topic for cursor in cursors}
    return Reconciled(
        cluster=metadata.cluster_id,
        partitions=[*there, *sorted(gone, key=lambda one: (one.topic, one.partition))],
        unknown_topics=sorted(set(spec.topics) - set(topics) - read),
    )


async def _offsets(
    topics: Collection[Topic], connection: Mapping[str, Any]
) -> tuple[dict[TopicPartition, int], dict[TopicPartition, int]]:
    partitions = [TopicPartition(topic.name, number) for topic in topics for number in topic.partitions]
    if not partitions:
        return {}, {}
    consumer = AIOKafkaConsumer(
        **connection, group_id=None, enable_auto_commit=False, isolation_level="read_committed"
    )
    try:
        await consumer.start()
        return await consumer.beginning_offsets(partitions), await consumer.end_offsets(partitions)
    finally:
        await consumer.stop()


def _compare(
    spec: KafkaSource,
    cluster: str,
    topic: Topic,
    partition: TopicPartition,
    cursors: Iterable[Cursor],
    begin: int,
    end: int,
) -> ReconciledPartition:
    at = mark(cursors, spec.name, cluster, partition, topic_id=topic.id)
    earlier = at.earlier
    value = at.value if earlier is None else earlier.value
    cursor = None if value is None else int(value)
    lost: int | None = 0
    waiting = end - begin
    if cursor is None:
        state = PartitionState.UNREAD
    elif earlier is not None and (earlier.topic_id or cursor > end):
        state, lost = PartitionState.RECREATED, None
    elif cursor < begin:
        state, lost = PartitionState.EXPIRED, begin - cursor
    elif cursor > end:
        state, lost, waiting = PartitionState.AHEAD, cursor - end, 0
    else:
        state = PartitionState.IN_STEP if cursor == end else PartitionState.BEHIND
        waiting = end - cursor
    return ReconciledPartition(
        topic=topic.name,
        partition=partition.partition,
        state=state,
        cursor=cursor,
        begin=begin,
        end=end,
        waiting=waiting,
        lost=lost,
    )


def _missing(cursor: Cursor) -> ReconciledPartition:
    return ReconciledPartition(
        topic=cursor.topic,
        partition=cursor.partition,
        state=PartitionState.MISSING,
        cursor=cursor.offset,
        lost=None,
    )
