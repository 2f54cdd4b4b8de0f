"""A service whose broker is dead or answers nothing stops in time all the same, with records on their way."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tidemill.service import Service
from tidemill.settings import Settings
from tidemill.sinks.kafka import KafkaProducer
from tidemill.testing.broker import KafkaBroker, require_jars

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]

_DRAIN_SECONDS = 2.0
_ORDERS = 20
_PROJECT = """
sources:
  - name: orders
    kafka: {{topics: [{source}], group: mill}}
subscriptions:
  - name: out
    filters: [{{exact: {{type: order.placed}}}}]
    kafka: {{topic: {sink}, mode: binary}}
"""


async def post_order(client: httpx.AsyncClient, number: int) -> None:
    event = {"specversion": "1.0", "id": str(number), "source": "/shop", "type": "order.placed"}
    headers = {"content-type": "application/cloudevents+json"}
    assert (await client.post("/events", json=event, headers=headers)).status_code == 202


@pytest.fixture
def on_their_way(monkeypatch: pytest.MonkeyPatch) -> list[asyncio.Future[Any]]:
    """The answers to the records that were handed over."""
    hand_over, answers = KafkaProducer.hand_over, []

    async def hand_over_and_note(self: KafkaProducer, *record: Any) -> asyncio.Future[Any]:
        answers.append(await hand_over(self, *record))
        return answers[-1]

    monkeypatch.setattr(KafkaProducer, "hand_over", hand_over_and_note)
    return answers


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGSTOP], ids=["dead", "silent"])
async def test_service_stops_in_time_while_its_broker_is_gone(
    kafka: str,
    cluster: Any,
    tmp_path: Path,
    on_their_way: list[asyncio.Future[Any]],
    wait_until: Any,
    sign: signal.Signals,
) -> None:
    with KafkaBroker(require_jars(), tmp_path / "broker") as broker:
        cluster.bootstrap_servers = broker.bootstrap_servers
        topics = {name: await cluster.create_topic(3) for name in ("source", "sink")}
        project = tmp_path / "project"
        (project / "triggers").mkdir(parents=True)
        (project / "triggers" / "all.yaml").write_text(_PROJECT.format(**topics), "utf-8")
        settings = Settings(
            port=0, kafka_bootstrap_servers=broker.bootstrap_servers, drain_seconds=_DRAIN_SECONDS
        )
        service = Service(project, settings)
        await service.start()

        async with httpx.AsyncClient(base_url=service.url, trust_env=False) as client:
            await post_order(client, 0)
            await wait_until(lambda: len(on_their_way) == 1 and on_their_way[0].done())
            os.kill(broker.pid or 0, sign)
            for number in range(1, _ORDERS):
                await post_order(client, number)
            await wait_until(lambda: len(on_their_way) == 1 + settings.delivery_concurrency)
        begun = time.monotonic()
        await service.stop()
        seconds = time.monotonic() - begun
        broker.kill()

        assert all(answer.done() for answer in on_their_way)
        assert sum(answer.exception() is None for answer in on_their_way) == 1
        assert seconds < _DRAIN_SECONDS + 10
