"""The topic that completions are delivered to: made before, read from its beginning to its end afterwards."""

from __future__ import annotations

from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition
from tests.acceptance.notes import Notes

__all__ = ["PARTITIONS", "completions_of", "write_down"]

PARTITIONS = 3


def completions_of(topic: str) -> str:
    """Name of the topic that gets the completions in a project which reads `topic`."""
    return f"{topic}-completions"


async def write_down(bootstrap_servers: str, topic: str, notes: Notes) -> None:
    """One line per record: the identity of the event in it."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap_servers, auto_offset_reset="earliest")
    async with consumer:
        partitions = [TopicPartition(topic, number) for number in range(PARTITIONS)]
        consumer.assign(partitions)
        left = {each: end for each, end in (await consumer.end_offsets(partitions)).items() if end}
        while left:
            for partition, records in (await consumer.getmany(*left, timeout_ms=500)).items():
                for record in records:
                    headers = {name: value.decode() for name, value in record.headers}
                    notes.write(source=headers["ce_source"], id=headers["ce_id"])
                if records and records[-1].offset + 1 >= left[partition]:
                    del left[partition]
