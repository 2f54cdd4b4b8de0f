"""A subscription made by API that delivers to a topic of a real broker."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path

import httpx
import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from tidemill.events.kafka import from_kafka
from tidemill.service import Service
from tidemill.settings import Settings

pytestmark = pytest.mark.kafka


async def test_events_go_to_the_topic_that_a_subscription_names(kafka: str, tmp_path: Path) -> None:
    topic = f"made-{uuid.uuid4().hex[:12]}"
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    await admin.create_topics([NewTopic(topic, 1, 1)])
    await admin.close()
    (tmp_path / "triggers").mkdir()
    service = Service(tmp_path, Settings(port=0, kafka_bootstrap_servers=kafka))
    await service.start()
    try:
        async with httpx.AsyncClient(base_url=service.url, trust_env=False) as client:
            body = {
                "sink": f"kafka://{kafka}",
                "protocol": "KAFKA",
                "protocolsettings": {"topicname": topic, "mode": "binary"},
                "types": ["order.placed"],
            }
            made = await client.post("/subscriptions", json=body)
            assert made.status_code == 201, made.text
            for number in range(3):
                event = {
                    "specversion": "1.0",
                    "id": str(number),
                    "source": "/shop",
                    "type": "order.placed",
                    "subject": "s1",
                }
                headers = {"content-type": "application/cloudevents+json"}
                assert (await client.post("/events", json=event, headers=headers)).status_code == 202
            consumer = AIOKafkaConsumer(topic, bootstrap_servers=kafka, auto_offset_reset="earliest")
            async with consumer, asyncio.timeout(60):
                records = [await consumer.getone() for _ in range(3)]
    finally:
        await service.stop()

    events = [from_kafka(record.key, record.value, record.headers) for record in records]
    assert sorted(event.id for event in events) == ["0", "1", "2"]
    assert {record.key for record in records} == {b"s1"}
