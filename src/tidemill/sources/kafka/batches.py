"""The records of one poll become pieces for the log: what can be decoded is an event, the rest a dead letter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aiokafka.structs import TopicPartition

from tidemill.clock import Clock
from tidemill.errors import EventRejected
from tidemill.events.event import Event
from tidemill.ids import new_id
from tidemill.sources.kafka.partitions import Lane
from tidemill.sources.kafka.records import Decoder, KafkaRecord
from tidemill.sources.kafka.writer import Piece
from tidemill.storage.contract import DeadLetter

__all__ = ["Batch", "BatchDecoder"]

Batch = Mapping[TopicPartition, Sequence[KafkaRecord]]


class BatchDecoder:
    """Decodes for one source on one cluster."""

    def __init__(self, decoder: Decoder, *, clock: Clock) -> None:
        self._decoder = decoder
        self._clock = clock

    def decode(self, batch: Batch, ready: Mapping[TopicPartition, Lane]) -> list[Piece]:
        """One piece for each partition of the batch that is ready."""
        return [
            self._decode_partition(partition, ready[partition], records)
            for partition, records in batch.items()
            if partition in ready
        ]

    def _decode_partition(
        self, partition: TopicPartition, lane: Lane, records: Sequence[KafkaRecord]
    ) -> Piece:
        events: list[Event] = []
        letters: list[DeadLetter] = []
        decode = self._decoder.decode
        for record in records:
            try:
                events.append(decode(record, lane.incarnation))
            except EventRejected as error:
                letters.append(self._bury(record, error, lane))
        return Piece(partition, lane, events, letters, records[-1].offset + 1)

    def _bury(self, record: KafkaRecord, error: EventRejected, lane: Lane) -> DeadLetter:
        return self._decoder.dead_letter(
            record, error, letter_id=new_id(), at=self._clock.now_us(), incarnation=lane.incarnation
        )
