"""A broker that is killed again and again under the sink: the topic holds whatever the sink called delivered."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition

from tidemill.errors import SinkUnavailable
from tidemill.events.event import Event, LoggedEvent
from tidemill.project.model import KafkaSink
from tidemill.sinks.kafka import KafkaProducer, KafkaSinkDelivery
from tidemill.testing.broker import KafkaBroker, require_jars

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]

_PARTITIONS = 3
_LANES = 16
#: So many deliveries between two kills; how long the broker is gone then: less and more than an attempt takes.
_KILLS = ((300, 0.0), (300, 1.5), (50, 0.0), (300, 0.5))


class Deliveries:
    """Lanes that deliver one event after the other, each until its sink has called it delivered."""

    def __init__(self) -> None:
        self.delivered: list[int] = []
        self.failures = 0
        self.over = False
        self._numbers = itertools.count(1)

    async def run(self, sink: KafkaSinkDelivery) -> None:
        while not self.over:
            number = next(self._numbers)
            for attempt in itertools.count(1):
                try:
                    await sink.deliver(completion(number), attempt)
                except SinkUnavailable:
                    self.failures += 1
                    await asyncio.sleep(0.1)
                else:
                    self.delivered.append(number)
                    break

    async def wait_for(self, count: int) -> None:
        """Return when so many more are delivered."""
        wanted = len(self.delivered) + count
        async with asyncio.timeout(30):
            while len(self.delivered) < wanted:  # noqa: ASYNC110 - whatever point of a delivery the kill hits
                await asyncio.sleep(0.001)


def completion(number: int) -> LoggedEvent:
    event = Event(
        id=f"run-{number}/succeeded",
        source="/tidemill/dags/report",
        type="dev.tidemill.run.succeeded.v1",
        subject=f"run-{number}",
        datacontenttype="application/json",
        data={"result": "x" * (number % 500)},
    )
    return LoggedEvent(number, 0, event)


async def read_whole(bootstrap_servers: str, topic: str) -> Counter[int]:
    """How often each completion is in the topic, from its beginning to its end."""
    found: Counter[int] = Counter()
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap_servers, auto_offset_reset="none")
    async with consumer, asyncio.timeout(60):
        partitions = [TopicPartition(topic, number) for number in range(_PARTITIONS)]
        consumer.assign(partitions)
        assert set((await consumer.beginning_offsets(partitions)).values()) == {0}
        left = {each: end for each, end in (await consumer.end_offsets(partitions)).items() if end}
        for partition in partitions:
            consumer.seek(partition, 0)
        while left:
            for partition, records in (await consumer.getmany(*left, timeout_ms=200)).items():
                found.update(int(record.key.removeprefix(b"run-")) for record in records)
                if records and records[-1].offset + 1 >= left[partition]:
                    del left[partition]
    return found


async def test_what_the_sink_called_delivered_is_in_the_topic_however_often_the_broker_was_killed(
    kafka: str, cluster: Any, tmp_path: Path
) -> None:
    with KafkaBroker(require_jars(), tmp_path / "broker") as broker:
        cluster.bootstrap_servers = broker.bootstrap_servers
        topic = await cluster.create_topic(_PARTITIONS)
        producers = [KafkaProducer(broker.bootstrap_servers, timeout_seconds=1) for _ in range(2)]
        deliveries = Deliveries()

        async with asyncio.TaskGroup() as lanes:
            for producer in producers:
                sink = KafkaSinkDelivery(KafkaSink(topic=topic), producer)
                for _ in range(_LANES):
                    lanes.create_task(deliveries.run(sink))
            for count, down_seconds in _KILLS:
                await deliveries.wait_for(count)
                broker.kill()
                await asyncio.sleep(down_seconds)
                await asyncio.to_thread(broker.start)
            await deliveries.wait_for(300)
            deliveries.over = True
        for producer in producers:
            await producer.close()

        found = await read_whole(broker.bootstrap_servers, topic)
        assert [number for number in deliveries.delivered if number not in found] == []
        assert deliveries.failures > 0
