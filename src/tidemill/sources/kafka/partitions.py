"""Which partitions are ours, and where each one stands.

1. The ledger's cursor is the truth: a partition is read from where the ledger says, never from where the
   group's own commit or the consumer's position happens to be.
2. A partition delivers only while it is ready: assigned, cursor read, consumer placed there. What came from
   it before that, or under an earlier lane, is dropped and found again.
3. What a cursor points at and Kafka no longer has is told as a `Gap`, never stepped over.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from aiokafka.structs import TopicPartition

__all__ = ["Gap", "Lane", "Partitions", "Place", "place"]


@dataclass(slots=True)
class Lane:
    """One ready partition; replaced, not reused, when the partition has to be placed again."""

    name: str
    #: Value of the ledger's cursor once everything handed to the log is committed; None: never read.
    cursor: str | None
    #: Offset up to which everything is in the log.
    position: int
    #: Id of the topic that the cursor is for; None where the brokers know no ids.
    topic_id: str | None = None
    #: See `cursors.Mark`.
    incarnation: str = ""


@dataclass(frozen=True, slots=True)
class Gap:
    """Offsets that were to be read next and are gone; reading goes on at `resumed_at`."""

    #: Offset that the cursor stood at.
    expected: int
    #: Where reading goes on (None: nowhere, the partition is no more), and the offset after the last.
    resumed_at: int | None
    end: int | None
    #: "expired": retention overtook us; "recreated": the topic was made again, as its id says or, where brokers know
    #: no ids, because it ends before the cursor; "truncated": the same topic ends before the cursor.
    reason: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where to read a partition from, and what was lost before it."""

    offset: int
    gap: Gap | None = None


def place(cursor: str | None, begin: int, end: int, *, is_same_topic: bool = False) -> Place:
    """Where to read on, given the cursor and the offsets that Kafka has.

    `is_same_topic`: the topic's id says that it is the one that the cursor was written for.
    """
    if cursor is None:
        return Place(begin)
    expected = int(cursor)
    if begin <= expected <= end:
        return Place(expected)
    if expected < begin:
        return Place(begin, Gap(expected, begin, end, "expired"))
    if is_same_topic:  # brokers have lost what we have; what they still have, we have read
        return Place(end, Gap(expected, end, end, "truncated"))
    return Place(begin, Gap(expected, begin, end, "recreated"))


class Partitions:
    """The partitions assigned to this consumer: those being read, and those to be placed first."""

    def __init__(self) -> None:
        self._ready: dict[TopicPartition, Lane] = {}
        self._pending: set[TopicPartition] = set()
        #: False until the group has given us an assignment, which may be empty.
        self.assigned = False

    @property
    def ready(self) -> Mapping[TopicPartition, Lane]:
        """Partitions that deliver."""
        return self._ready

    @property
    def pending(self) -> frozenset[TopicPartition]:
        """Partitions whose cursor is to be read before they deliver."""
        return frozenset(self._pending)

    def assign(self, partitions: Iterable[TopicPartition]) -> None:
        """The group gave us these; each is placed before it delivers."""
        self.assigned = True
        for partition in partitions:
            self._ready.pop(partition, None)
            self._pending.add(partition)

    def revoke(self, partitions: Iterable[TopicPartition]) -> None:
        """The group took these."""
        self.assigned = False
        for partition in partitions:
            self._ready.pop(partition, None)
            self._pending.discard(partition)

    def open(self, partition: TopicPartition, lane: Lane) -> None:
        """A pending partition is placed and delivers from here on."""
        self._pending.discard(partition)
        self._ready[partition] = lane

    def reopen(self, partition: TopicPartition, lane: Lane | None = None) -> None:
        """Place a partition again; does nothing when `lane` is given and is no longer the partition's."""
        if partition in self._ready and (lane is None or self.holds(partition, lane)):
            del self._ready[partition]
            self._pending.add(partition)

    def holds(self, partition: TopicPartition, lane: Lane) -> bool:
        """True while `lane` is the partition's present one."""
        return self._ready.get(partition) is lane

    def clear(self) -> None:
        """Forget everything: the consumer is gone."""
        self._ready.clear()
        self._pending.clear()
        self.assigned = False
