"""A cluster's topics and records for the Kafka tests, and a store to read them into."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.records_to_delete import RecordsToDelete
from aiokafka.structs import TopicPartition

from tidemill.clock import SystemClock
from tidemill.project.model import KafkaSource
from tidemill.sources.kafka import KafkaSourceStage
from tidemill.storage.contract import DeadLetter, EventFilter, Store
from tidemill.storage.sqlite import open_store

Header = tuple[str, bytes]


class Cluster:
    """What the outside does with the cluster: topics come and go, records are produced."""

    def __init__(self, bootstrap_servers: str) -> None:
        self.bootstrap_servers = bootstrap_servers

    async def create_topic(self, partitions: int = 4, *, name: str | None = None) -> str:
        topic = name or f"orders-{uuid.uuid4().hex[:12]}"
        async with self._admin() as admin:
            answer = await admin.create_topics([NewTopic(topic, partitions, 1)])
            assert [error[1] for error in answer.topic_errors] == [0]
        async with self.consumer() as consumer:
            for _ in range(200):  # the broker answers before the topic can be used
                if topic in await consumer.topics():
                    break
        return topic

    async def delete_topic(self, topic: str) -> None:
        async with self._admin() as admin:
            await admin.delete_topics([topic])

    async def delete_records(self, topic: str, partition: int, before: int) -> None:
        async with self._admin() as admin:
            await admin.delete_records({TopicPartition(topic, partition): RecordsToDelete(before)})

    async def produce(
        self,
        topic: str,
        records: Sequence[tuple[int, bytes | None, bytes | None, Sequence[Header]]],
    ) -> None:
        """Produce (partition, key, value, headers) in order per partition."""
        producer = AIOKafkaProducer(
            bootstrap_servers=self.bootstrap_servers,
            enable_idempotence=True,
            linger_ms=5,
            max_batch_size=128 << 10,
            max_request_size=4 << 20,
        )
        async with producer:
            accepted = [
                await producer.send(topic, value=value, key=key, partition=partition, headers=list(headers))
                for partition, key, value, headers in records
            ]
            await asyncio.gather(*accepted)

    @asynccontextmanager
    async def consumer(self, *topics: str) -> AsyncIterator[Any]:
        consumer = AIOKafkaConsumer(
            *topics, bootstrap_servers=self.bootstrap_servers, auto_offset_reset="earliest"
        )
        async with consumer:
            yield consumer

    @asynccontextmanager
    async def _admin(self) -> AsyncIterator[Any]:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap_servers)
        await admin.start()
        try:
            yield admin
        finally:
            await admin.close()


@pytest.fixture
def cluster(kafka: str) -> Cluster:
    return Cluster(kafka)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await open_store(tmp_path / "tidemill.db", clock=SystemClock())
    yield opened
    await opened.close()


@asynccontextmanager
async def running(stage: Any) -> AsyncIterator[Any]:
    """Run a stage; what ends it other than the end of the block is raised."""
    task = asyncio.create_task(stage.run())
    try:
        yield stage
    finally:
        assert not task.done() or task.result() is None, "the stage ended by itself"
        task.cancel()
        await asyncio.wait((task,))


@pytest.fixture
def run() -> Callable[[Any], Any]:
    return running


@pytest.fixture
def make_source(cluster: Cluster, store: Store) -> Callable[..., KafkaSourceStage]:
    """A Kafka source on the test's store; `spec` members override the defaults."""

    def make(topic: str, **spec: Any) -> KafkaSourceStage:
        arguments = {"log": spec.pop("log", store.log), "ledger": store.ledger}
        limit = spec.pop("max_body_bytes", 1 << 20)
        further = {name: spec.pop(name) for name in ("metadata_seconds", "security") if name in spec}
        source = KafkaSource(**{"name": "orders", "topics": (topic,), "group": f"group-{topic}", **spec})
        return KafkaSourceStage(
            source,
            **arguments,
            clock=SystemClock(),
            bootstrap_servers=cluster.bootstrap_servers,
            max_body_bytes=limit,
            **further,
        )

    return make


class Log:
    """What a test asks of the store."""

    def __init__(self, store: Store) -> None:
        self.store = store

    async def wait_for_count(self, count: int, seconds: float = 60.0) -> None:
        async with asyncio.timeout(seconds):
            await self.store.log.wait_for_event(count - 1)

    async def events(self) -> list[Any]:
        events, after = [], 0
        while page := await self.store.log.read(after, 5000):
            events.extend(logged.event for logged in page)
            after = page[-1].position
        return events

    async def of_type(self, event_type: str) -> list[Any]:
        found = await self.store.log.list(EventFilter(type=event_type), before=None, limit=1000)
        return [logged.event for logged in found]

    async def letters(self) -> list[DeadLetter]:
        listed = await self.store.dead_letters.list(stage="kafka", before=None, limit=1000)
        whole = [await self.store.dead_letters.get(letter.id) for letter in listed]
        return [letter for letter in reversed(whole) if letter is not None]


@pytest.fixture
def log(store: Store) -> Log:
    return Log(store)


@pytest.fixture
def wait_until() -> Callable[..., Any]:
    """Wait for something that nobody signals; bounded, and looks every few milliseconds."""

    async def wait(condition: Callable[[], bool], seconds: float = 30.0) -> None:
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110 - a real broker signals nothing to us
                await asyncio.sleep(0.02)

    return wait


@pytest.fixture
def order() -> Callable[..., tuple[int, bytes, bytes, list[Header]]]:
    """A CloudEvent in the binary mode, about 400 bytes, as (partition, key, value, headers)."""

    def make(number: int, *, partition: int = 0, source: str = "/shop") -> Any:
        data = {"order": number, "items": ["tea", "milk"], "note": "x" * 180, "total": 12.5}
        headers = [
            ("ce_specversion", b"1.0"),
            ("ce_id", f"order-{partition}-{number}".encode()),
            ("ce_source", source.encode()),
            ("ce_type", b"com.example.order.placed"),
            ("ce_time", b"2024-05-01T12:00:00Z"),
            ("content-type", b"application/json"),
        ]
        return partition, b"customer-%d" % (number % 50), orjson.dumps(data), headers

    return make
