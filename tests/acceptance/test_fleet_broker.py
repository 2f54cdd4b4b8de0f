"""A Kafka broker that is killed and comes back under a fleet: nothing lost, doubled or out of order."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.acceptance.fleet import ANSWER_SECONDS, start, wait_for_records, wait_for_shares
from tests.acceptance.scene import staged

from tidemill.testing.broker import KafkaBroker

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.postgres,
    pytest.mark.kafka,
    pytest.mark.timeout(180),
]


async def test_records_are_neither_lost_nor_doubled_when_the_broker_is_killed(
    tmp_path: Path, postgres_url: str, mortal_broker: tuple[KafkaBroker, str]
) -> None:
    broker, topic = mortal_broker
    async with staged(
        tmp_path,
        postgres=postgres_url,
        nodes=3,
        kafka=(broker.bootstrap_servers, topic),
        # An attempt outlives an outage: one that fails twice is put off for minutes, as promised.
        settings={"TIDEMILL_DELIVERY_TIMEOUT_SECONDS": "40"},
        answer_seconds=ANSWER_SECONDS,
    ) as scene:
        load = scene.send(modes=("structured",), files=False, jobs=False, pause=0.01)
        await start(*scene.servers)
        await wait_for_shares(scene, "node-1", "node-2", "node-3")

        for down_seconds in (0.0, 2.0, 0.5):
            await wait_for_records(scene, 100)
            load.raise_failure()
            await asyncio.to_thread(broker.kill)
            await asyncio.sleep(down_seconds)
            await asyncio.to_thread(broker.start)
        await wait_for_records(scene, 100)
        await load.finish()
        await scene.settle()

        assert all(server.is_running for server in scene.servers)
        assert await scene.stop_and_check() == []
        assert load.records is not None
        assert load.records.produced > 300
