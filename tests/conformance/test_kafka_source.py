"""The Kafka source against the source conformance suite, on a real broker."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from tests.conformance.sources import (
    BadInput,
    ProbedLog,
    SourceAdapter,
    SourceConformance,
    logged,
    running,
)

from tidemill.clock import Clock
from tidemill.events.event import Event
from tidemill.project.model import KafkaSource
from tidemill.sources.contract import Source
from tidemill.sources.kafka import KafkaSourceStage
from tidemill.storage.contract import EventLog, Ledger

pytestmark = pytest.mark.kafka

_PARTITIONS = 2


class KafkaAdapter:
    """A topic of two partitions, filled by turns."""

    keeps_bad_input = True

    def __init__(self, bootstrap_servers: str, producer: Any) -> None:
        self.topic = f"inputs-{uuid.uuid4().hex[:12]}"
        self._bootstrap_servers = bootstrap_servers
        self._producer = producer
        self._keys: list[list[str]] = [[] for _ in range(_PARTITIONS)]
        self._turn = 0

    async def create_topic(self) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self._bootstrap_servers)
        await admin.start()
        await admin.create_topics([NewTopic(self.topic, _PARTITIONS, 1)])
        await admin.close()

    def build(self, log: EventLog, ledger: Ledger, clock: Clock) -> Source:
        spec = KafkaSource(name="inputs", topics=(self.topic,), group=self.topic)
        return KafkaSourceStage(spec, log, ledger, clock=clock, bootstrap_servers=self._bootstrap_servers)

    async def put(self, keys: Sequence[str]) -> None:
        accepted = []
        for key in keys:
            value = orjson.dumps({"specversion": "1.0", "id": key, "source": "/inputs", "type": "t"})
            accepted.append(await self._send(key, value, [("content-type", b"application/cloudevents+json")]))
        await asyncio.gather(*accepted)

    async def put_bad(self) -> BadInput:
        partition = self._turn % _PARTITIONS
        place = {"topic": self.topic, "partition": partition, "offset": len(self._keys[partition])}
        await (await self._send("", b"\xff", [("content-type", b"application/cloudevents+json")]))
        return BadInput("invalid_unicode", b"\xff", place)

    def key_of(self, event: Event) -> str:
        return event.id

    async def acknowledged(self, ledger: Ledger) -> set[str]:
        keys: set[str] = set()
        for name, offset in (await ledger.cursors("kafka/inputs/")).items():
            keys.update(self._keys[int(name.rpartition("/")[2])][: int(offset)])
        return keys

    async def _send(self, key: str, value: bytes, headers: list[tuple[str, bytes]]) -> Any:
        partition = self._turn % _PARTITIONS
        self._turn += 1
        self._keys[partition].append(key)
        return await self._producer.send(self.topic, value=value, partition=partition, headers=headers)


class TestKafka(SourceConformance):
    """The Kafka source."""

    @pytest.fixture
    async def adapter(self, kafka: str) -> AsyncIterator[SourceAdapter]:
        async with AIOKafkaProducer(bootstrap_servers=kafka, linger_ms=2) as producer:
            adapter = KafkaAdapter(kafka, producer)
            await adapter.create_topic()
            yield adapter

    @pytest.mark.parametrize("committed", [False, True], ids=["refused", "answer lost"])
    async def test_failing_commits_lose_and_double_nothing(
        self, adapter: SourceAdapter, source: Source, log: ProbedLog, committed: bool
    ) -> None:
        """As in the suite, with a commit per input: a commit whose answer was lost is not tried again here,
        for the cursor says that it was made, so that each lost answer needs an input of its own.
        """
        log.fail(4, committed=committed)
        keys = [f"input-{number}" for number in range(4)]

        async with running(source):
            for number, key in enumerate(keys):
                await adapter.put([key])
                await logged(log, number + 1)
            await self.assert_exactly(keys, adapter=adapter, log=log)

        assert log.failures_left == 0
