"""The Kafka sink against a real broker: accepted means replicated, a failure says whether to try again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from tidemill.errors import SinkRefused, SinkUnavailable
from tidemill.events import kafka as binding
from tidemill.events.event import Event, LoggedEvent
from tidemill.project.model import KafkaSink
from tidemill.sinks.kafka import KafkaProducer, KafkaSinkDelivery

pytestmark = pytest.mark.kafka


def completion(number: int, **members: Any) -> LoggedEvent:
    arguments = {
        "id": f"run-{number}/succeeded",
        "source": "/tidemill/dags/report",
        "type": "dev.tidemill.run.succeeded.v1",
        "subject": f"run-{number}",
        "datacontenttype": "application/json",
        "data": {"result": number},
        **members,
    }
    return LoggedEvent(number, 0, Event(**arguments))


@pytest.fixture
async def producer(cluster: Any) -> AsyncIterator[KafkaProducer]:
    opened = KafkaProducer(cluster.bootstrap_servers, timeout_seconds=5)
    yield opened
    await opened.close()


async def records_of(cluster: Any, topic: str, count: int) -> list[Any]:
    async with cluster.consumer(topic) as consumer, asyncio.timeout(20):
        return [await consumer.getone() for _ in range(count)]


async def test_binary_delivery_carries_identity_in_headers_and_is_keyed_by_subject(
    cluster: Any, producer: KafkaProducer
) -> None:
    topic = await cluster.create_topic(1)
    sink = KafkaSinkDelivery(KafkaSink(topic=topic, mode="binary"), producer)

    await sink.deliver(completion(7), 1)

    (record,) = await records_of(cluster, topic, 1)
    headers = dict(record.headers)
    assert headers["ce_id"] == b"run-7/succeeded"
    assert headers["ce_source"] == b"/tidemill/dags/report"
    assert (record.key, orjson.loads(record.value)) == (b"run-7", {"result": 7})


async def test_structured_delivery_reads_back_as_the_same_event_keyed_by_partitionkey(
    cluster: Any, producer: KafkaProducer
) -> None:
    topic = await cluster.create_topic(1)
    logged = completion(7, extensions={"partitionkey": "north", "hopcount": 2})

    await KafkaSinkDelivery(KafkaSink(topic=topic), producer).deliver(logged, 1)

    (record,) = await records_of(cluster, topic, 1)
    assert record.key == b"north"
    assert binding.from_kafka(record.key, record.value, record.headers) == logged.event


async def test_concurrent_deliveries_share_one_producer_and_each_arrive_once(
    cluster: Any, producer: KafkaProducer
) -> None:
    topics = [await cluster.create_topic(2) for _ in range(2)]
    sinks = [KafkaSinkDelivery(KafkaSink(topic=topic), producer) for topic in topics]

    await asyncio.gather(*(sink.deliver(completion(n), 1) for sink in sinks for n in range(500)))

    for topic in topics:
        keys = [record.key for record in await records_of(cluster, topic, 500)]
        assert sorted(keys) == sorted(b"run-%d" % n for n in range(500))


async def test_too_large_event_is_refused_and_the_next_one_is_delivered(
    cluster: Any, producer: KafkaProducer
) -> None:
    topic = await cluster.create_topic(1)
    sink = KafkaSinkDelivery(KafkaSink(topic=topic), producer)

    with pytest.raises(SinkRefused, match="MessageSizeTooLarge") as refused:
        await sink.deliver(completion(1, data="x" * (1 << 20)), 1)
    await sink.deliver(completion(2), 1)

    assert refused.value.gone is False
    (record,) = await records_of(cluster, topic, 1)
    assert record.key == b"run-2"


async def test_missing_topic_is_unavailable_until_somebody_makes_it(cluster: Any) -> None:
    topic = await cluster.create_topic(1)
    producer = KafkaProducer(cluster.bootstrap_servers, timeout_seconds=1)
    sink = KafkaSinkDelivery(KafkaSink(topic=f"{topic}-later"), producer)

    with pytest.raises(SinkUnavailable):
        await sink.deliver(completion(1), 1)
    await cluster.create_topic(1, name=f"{topic}-later")
    await sink.deliver(completion(1), 2)
    await producer.close()

    (record,) = await records_of(cluster, f"{topic}-later", 1)
    assert record.key == b"run-1"


async def test_no_broker_is_unavailable(unused_tcp_port: int) -> None:
    producer = KafkaProducer(f"127.0.0.1:{unused_tcp_port}", timeout_seconds=1)

    with pytest.raises(SinkUnavailable, match="KafkaConnectionError"):
        await KafkaSinkDelivery(KafkaSink(topic="orders"), producer).deliver(completion(1), 1)

    await producer.close()
