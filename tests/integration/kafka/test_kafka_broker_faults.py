"""The broker dies, hangs and comes back: source and sink heal by themselves, nothing is lost or doubled."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaConnectionError, KafkaError

from tidemill.clock import SystemClock
from tidemill.errors import SinkUnavailable
from tidemill.events.event import Event, LoggedEvent
from tidemill.project.model import KafkaSink, KafkaSource
from tidemill.sinks.kafka import KafkaProducer, KafkaSinkDelivery
from tidemill.sources.contract import SourceState
from tidemill.sources.kafka import KafkaSourceStage
from tidemill.sources.kafka.reader import Reader
from tidemill.testing.broker import KafkaBroker, require_jars

pytestmark = pytest.mark.kafka


@pytest.fixture
async def mortal(kafka: str, tmp_path: Path) -> AsyncIterator[KafkaBroker]:
    """A broker of the test's own (the session's fixture decides whether there can be one)."""
    broker = KafkaBroker(require_jars(), tmp_path / "broker")
    await asyncio.to_thread(broker.start)
    yield broker
    await asyncio.to_thread(broker.stop)


@pytest.fixture
def kafka_of_test(mortal: KafkaBroker, cluster: Any) -> Any:
    cluster.bootstrap_servers = mortal.bootstrap_servers
    return cluster


def make_stage(broker: KafkaBroker, topic: str, store: Any) -> KafkaSourceStage:
    return KafkaSourceStage(
        KafkaSource(name="orders", topics=(topic,), group="mill"),
        store.log,
        store.ledger,
        clock=SystemClock(),
        bootstrap_servers=broker.bootstrap_servers,
    )


async def test_source_survives_a_killed_broker_without_loss_or_double(
    mortal: KafkaBroker, kafka_of_test: Any, store: Any, run: Any, log: Any, order: Any, wait_until: Any
) -> None:
    topic = await kafka_of_test.create_topic(4)
    await kafka_of_test.produce(topic, [order(n, partition=n % 4) for n in range(3000)])
    stage = make_stage(mortal, topic, store)

    async with run(stage):
        await log.wait_for_count(500)
        mortal.kill()
        await wait_until(lambda: stage.status().state is SourceState.STALLED)
        stalled = stage.status()
        await asyncio.to_thread(mortal.start)
        await kafka_of_test.produce(topic, [order(n, partition=n % 4) for n in range(3000, 6000)])
        await log.wait_for_count(6000)
        await wait_until(lambda: stage.status().state is SourceState.LIVE)

    events = await log.events()
    assert stalled.error
    assert len(events) == 6000
    assert sorted(event.data["order"] for event in events) == list(range(6000))
    assert stage.status().duplicates == 0


async def test_source_stalls_while_the_broker_hangs_and_goes_on_after(
    mortal: KafkaBroker, kafka_of_test: Any, store: Any, run: Any, log: Any, order: Any, wait_until: Any
) -> None:
    topic = await kafka_of_test.create_topic(1)
    await kafka_of_test.produce(topic, [order(0)])
    stage = make_stage(mortal, topic, store)

    async with run(stage):
        await log.wait_for_count(1)
        os.kill(mortal.pid or 0, signal.SIGSTOP)
        try:
            await wait_until(lambda: stage.status().state is SourceState.STALLED)
        finally:
            os.kill(mortal.pid or 0, signal.SIGCONT)
        await kafka_of_test.produce(topic, [order(1)])
        await log.wait_for_count(2)
        await wait_until(lambda: stage.status().state is SourceState.LIVE)

    assert [event.data["order"] for event in await log.events()] == [0, 1]


async def test_source_waits_for_a_broker_that_is_not_there_yet(
    mortal: KafkaBroker, kafka_of_test: Any, store: Any, run: Any, log: Any, order: Any, wait_until: Any
) -> None:
    topic = await kafka_of_test.create_topic(1)
    await kafka_of_test.produce(topic, [order(0)])
    await asyncio.to_thread(mortal.stop)
    stage = make_stage(mortal, topic, store)

    async with run(stage):
        await wait_until(lambda: stage.status().state is SourceState.STALLED)
        await asyncio.to_thread(mortal.start)
        await log.wait_for_count(1)

    assert [event.data["order"] for event in await log.events()] == [0]


async def test_source_begins_again_although_its_client_stops_with_a_cancellation_of_its_own(
    cluster: Any, make_source: Any, run: Any, log: Any, order: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = await cluster.create_topic(1)
    await cluster.produce(topic, [order(0)])
    stop, read = AIOKafkaConsumer.stop, Reader.read
    failures: list[KafkaError] = [KafkaConnectionError("the connection broke off")]

    async def stop_with_a_cancelled_fetch(self: AIOKafkaConsumer) -> None:
        await stop(self)
        raise asyncio.CancelledError

    async def read_the_second_time(self: Reader) -> None:
        if failures:
            raise failures.pop()
        await read(self)

    monkeypatch.setattr(AIOKafkaConsumer, "stop", stop_with_a_cancelled_fetch)
    monkeypatch.setattr(Reader, "read", read_the_second_time)
    async with run(make_source(topic)):
        await log.wait_for_count(1)

    assert failures == []
    assert [event.data["order"] for event in await log.events()] == [0]


@pytest.fixture
def deaths(monkeypatch: pytest.MonkeyPatch) -> list[RuntimeError]:
    """What the next clients die of: uvloop's error for a connection that has just closed, which they do not expect."""
    look_after_metadata, found = AIOKafkaClient._md_synchronizer, []

    async def die(self: AIOKafkaClient) -> None:
        if found:
            raise found.pop()
        await look_after_metadata(self)

    monkeypatch.setattr(AIOKafkaClient, "_md_synchronizer", die)
    return found


async def test_source_begins_again_with_another_client_when_one_has_died(
    cluster: Any, make_source: Any, run: Any, log: Any, order: Any, deaths: list[RuntimeError]
) -> None:
    topic = await cluster.create_topic(1)
    await cluster.produce(topic, [order(0)])
    deaths += [RuntimeError("the handler is closed") for _ in range(2)]

    async with run(make_source(topic)):
        await log.wait_for_count(1)

    assert deaths == []
    assert [event.data["order"] for event in await log.events()] == [0]


async def test_sink_delivers_with_another_client_when_one_has_died(
    cluster: Any, deaths: list[RuntimeError]
) -> None:
    topic = await cluster.create_topic(1)
    producer = KafkaProducer(cluster.bootstrap_servers, timeout_seconds=1)
    sink = KafkaSinkDelivery(KafkaSink(topic=topic), producer)
    deaths.append(RuntimeError("the handler is closed"))

    with pytest.raises(SinkUnavailable):
        await sink.deliver(completion(1), 1)
    await deliver_at_last(sink, completion(1))
    await producer.close()

    async with cluster.consumer(topic) as consumer, asyncio.timeout(20):
        assert (await consumer.getone()).key == b"run-1"


async def test_sink_fails_while_the_broker_is_dead_and_a_later_attempt_writes_the_record_once(
    mortal: KafkaBroker, kafka_of_test: Any
) -> None:
    topic = await kafka_of_test.create_topic(1)
    producer = KafkaProducer(mortal.bootstrap_servers, timeout_seconds=1)
    sink = KafkaSinkDelivery(KafkaSink(topic=topic), producer)

    await sink.deliver(completion(1), 1)
    mortal.kill()
    for attempt in (1, 2):
        with pytest.raises(SinkUnavailable):
            await sink.deliver(completion(2), attempt)
    await asyncio.to_thread(mortal.start)
    await deliver_at_last(sink, completion(2))
    await deliver_at_last(sink, completion(3))
    await producer.close()

    async with kafka_of_test.consumer(topic) as consumer, asyncio.timeout(20):
        records = [await consumer.getone() for _ in range(3)]
    assert [record.key for record in records] == [b"run-1", b"run-2", b"run-3"]


async def test_producer_closes_while_the_broker_is_dead(mortal: KafkaBroker, kafka_of_test: Any) -> None:
    topic = await kafka_of_test.create_topic(1)
    producer = KafkaProducer(mortal.bootstrap_servers, timeout_seconds=2)
    sink = KafkaSinkDelivery(KafkaSink(topic=topic), producer)
    await sink.deliver(completion(1), 1)
    mortal.kill()
    with pytest.raises(SinkUnavailable, match="not answered"):
        await sink.deliver(completion(2), 1)

    async with asyncio.timeout(10):
        await producer.close()

    with pytest.raises(SinkUnavailable, match="closed"):
        await sink.deliver(completion(2), 2)


def completion(number: int) -> LoggedEvent:
    event = Event(
        id=f"run-{number}/succeeded", source="/tidemill/dags/report", type="t", subject=f"run-{number}"
    )
    return LoggedEvent(number, 0, event)


async def deliver_at_last(sink: KafkaSinkDelivery, logged: LoggedEvent) -> None:
    """Attempts as the dispatcher makes them, until one succeeds."""
    for attempt in range(1, 20):
        try:
            return await sink.deliver(logged, attempt)
        except SinkUnavailable:
            continue
    raise AssertionError("never delivered")
