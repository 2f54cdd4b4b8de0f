"""Every sink against the sink conformance suite."""

from __future__ import annotations

import asyncio
import socket
import uuid
from collections.abc import AsyncIterator

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from tests.conformance.receiver import Receiver, receiving, status
from tests.conformance.sinks import PATIENCE, SinkAdapter, SinkConformance

from tidemill.events.event import Event
from tidemill.events.http import from_http
from tidemill.events.kafka import from_kafka
from tidemill.project.model import KafkaSink, WebhookSink
from tidemill.sinks.contract import Sink
from tidemill.sinks.kafka import KafkaProducer, KafkaSinkDelivery
from tidemill.sinks.webhook import WebhookSinkDelivery

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def closed_port() -> int:
    """A port on loopback where nobody listens."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        return int(closed.getsockname()[1])


class WebhookAdapter:
    """An HTTP server on loopback."""

    def __init__(self, accepting: Receiver, refusing: Receiver, mode: str) -> None:
        self._accepting = accepting
        self._refusing = refusing
        self._mode = mode
        self.spec = self._spec_of(accepting.url)

    def build(self) -> Sink:
        return WebhookSinkDelivery(self.spec, SECRET)

    def build_unavailable(self) -> Sink:
        return WebhookSinkDelivery(self._spec_of(f"http://127.0.0.1:{closed_port()}/"), SECRET)

    def build_refused(self) -> Sink:
        return WebhookSinkDelivery(self._spec_of(self._refusing.url), SECRET)

    async def received(self, count: int) -> list[tuple[str, Event]]:
        await self._accepting.wait_for(count)
        found = []
        for request in self._accepting.received:
            headers = [(name.encode(), value.encode()) for name, value in request.headers.items()]
            [event], _ = from_http(headers, request.body, max_events=1)
            found.append((request.headers["webhook-id"], event))
        return found

    def _spec_of(self, url: str) -> WebhookSink:
        return WebhookSink(url=url, mode="binary" if self._mode == "binary" else "structured")


class TestWebhook(SinkConformance):
    """The webhook sink, in both modes."""

    @pytest.fixture(params=["structured", "binary"])
    async def adapter(self, request: pytest.FixtureRequest) -> AsyncIterator[SinkAdapter]:
        async with receiving() as accepting, receiving(status(400, body=b"canary")) as refusing:
            yield WebhookAdapter(accepting, refusing, request.param)


class KafkaAdapter:
    """A topic of a real broker, and one that takes no record of any size."""

    def __init__(self, bootstrap_servers: str) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._producers: list[KafkaProducer] = []
        name = uuid.uuid4().hex[:12]
        self.spec = KafkaSink(topic=f"taking-{name}")
        self._refusing = KafkaSink(topic=f"refusing-{name}")

    async def open(self) -> None:
        """Make the topics."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self._bootstrap_servers)
        await admin.start()
        try:
            taking = NewTopic(self.spec.topic, 1, 1)
            refusing = NewTopic(self._refusing.topic, 1, 1, topic_configs={"max.message.bytes": "16"})
            await admin.create_topics([taking, refusing])
        finally:
            await admin.close()

    async def close(self) -> None:
        """Let go of what the sinks share."""
        for producer in self._producers:
            await producer.close()

    def build(self) -> Sink:
        return KafkaSinkDelivery(self.spec, self._producer(self._bootstrap_servers))

    def build_unavailable(self) -> Sink:
        return KafkaSinkDelivery(self.spec, self._producer(f"127.0.0.1:{closed_port()}"))

    def build_refused(self) -> Sink:
        return KafkaSinkDelivery(self._refusing, self._producer(self._bootstrap_servers))

    async def received(self, count: int) -> list[tuple[str, Event]]:
        topic, servers = self.spec.topic, self._bootstrap_servers
        consumer = AIOKafkaConsumer(topic, bootstrap_servers=servers, auto_offset_reset="earliest")
        async with consumer, asyncio.timeout(PATIENCE):
            records = [await consumer.getone() for _ in range(count)]
            for more in (await consumer.getmany(timeout_ms=100)).values():
                records.extend(more)
        events = [from_kafka(record.key, record.value, record.headers) for record in records]
        return [(f"{event.source} {event.id}", event) for event in events]

    def _producer(self, bootstrap_servers: str) -> KafkaProducer:
        self._producers.append(KafkaProducer(bootstrap_servers, timeout_seconds=10))
        return self._producers[-1]


@pytest.mark.kafka
class TestKafka(SinkConformance):
    """The Kafka sink."""

    @pytest.fixture
    async def adapter(self, kafka: str) -> AsyncIterator[SinkAdapter]:
        adapter = KafkaAdapter(kafka)
        await adapter.open()
        yield adapter
        await adapter.close()
