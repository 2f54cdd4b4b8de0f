"""One consumer group over the nodes of a fleet: partitions move all the time, and every record is logged once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import orjson
import pytest
from aiokafka import AIOKafkaProducer
from tests.integration.kafka.conftest import Cluster

from tidemill.clock import SystemClock
from tidemill.project.model import KafkaSource
from tidemill.sources.kafka import KafkaSourceStage
from tidemill.storage.postgres import PostgresStore, open_store
from tidemill.testing.postgres import PostgresServer

pytestmark = [pytest.mark.kafka, pytest.mark.postgres, pytest.mark.timeout(180)]

_PARTITIONS = 8
_RECORDS = 200_000
_STORMS = 12


@pytest.fixture
async def nodes(postgres_url: str) -> AsyncIterator[list[PostgresStore]]:
    async with contextlib.AsyncExitStack() as opened:
        stores = []
        for _ in range(3):
            store = await open_store(postgres_url, clock=SystemClock())
            opened.push_async_callback(store.close)
            stores.append(store)
        yield stores


async def _produce(cluster: Cluster, topic: str) -> None:
    headers = [("content-type", b"application/cloudevents+json")]
    async with AIOKafkaProducer(
        bootstrap_servers=cluster.bootstrap_servers, linger_ms=5, max_batch_size=1 << 17
    ) as producer:
        for start in range(0, _RECORDS, 5000):
            sent = []
            for number in range(start, start + 5000):
                value = orjson.dumps(
                    {
                        "specversion": "1.0",
                        "id": str(number),
                        "source": "/storm",
                        "type": "com.example.counted",
                    }
                )
                sent.append(
                    await producer.send(topic, value=value, partition=number % _PARTITIONS, headers=headers)
                )
            await asyncio.gather(*sent)


async def test_rebalances_each_second_lose_and_double_nothing(
    cluster: Cluster, nodes: list[PostgresStore], postgres_server: PostgresServer, postgres_url: str
) -> None:
    topic = await cluster.create_topic(_PARTITIONS)
    producing = asyncio.ensure_future(_produce(cluster, topic))

    def begin(store: PostgresStore) -> asyncio.Task[None]:
        spec = KafkaSource(name="storm", topics=(topic,), group=topic)
        stage = KafkaSourceStage(
            spec, store.log, store.ledger, clock=SystemClock(), bootstrap_servers=cluster.bootstrap_servers
        )
        return asyncio.create_task(stage.run())

    members = [begin(store) for store in nodes]
    for storm in range(_STORMS):  # one member leaves and comes back each second
        await asyncio.sleep(1)
        place = storm % len(members)
        members[place].cancel()
        await asyncio.gather(members[place], return_exceptions=True)
        members[place] = begin(nodes[place])
    await producing
    name = postgres_url.rpartition("/")[2]
    async with asyncio.timeout(120):
        while max(store.log.head for store in nodes) < _RECORDS:
            await asyncio.sleep(0.1)
            for member in members:
                assert not member.done() or member.result() is None
    await asyncio.sleep(0.5)  # whatever would come twice has its time

    counted = await asyncio.to_thread(
        postgres_server.run,
        "SELECT count(*), count(DISTINCT key), max(position), (SELECT count(*) FROM dead_letters) FROM events",
        name,
    )
    assert counted == f"{_RECORDS}|{_RECORDS}|{_RECORDS}|0"
    # Within a partition the order of arrival is the order of the log.
    disordered = await asyncio.to_thread(
        postgres_server.run,
        "SELECT count(*) FROM (SELECT n, lag(n) OVER (PARTITION BY n % 8 ORDER BY position) AS before FROM"
        " (SELECT position, (convert_from(body, 'UTF8')::json ->> 'id')::int AS n FROM events) AS e) AS o"
        " WHERE before > n",
        name,
    )
    assert disordered == "0"
    for member in members:
        member.cancel()
    await asyncio.gather(*members, return_exceptions=True)
