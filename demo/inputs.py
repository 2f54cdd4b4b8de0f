"""Real inputs through the doors that the example project has: a webhook, a folder and, where there is one, a broker."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

__all__ = ["Input", "ensure_topic", "land_csv", "post_order", "produce_payment", "scheduled"]

Run = Mapping[str, Any]
_TOPIC = "payments"
_ROWS = 1000


@dataclass(frozen=True, slots=True)
class Input:
    """Something that was sent, and which run it must start."""

    #: Where it went in.
    door: str
    what: str
    dag: str
    is_its_run: Callable[[Run], bool]
    #: Whether its completion must start a report.
    is_reported: bool = True


def post_order(url: str, order_id: str) -> Input:
    """An order by webhook; its card works at the second attempt."""
    order = {
        "id": order_id,
        "customer": "ada@example.com",
        "card": "busy",
        "lines": [
            {"sku": "TEA-1", "quantity": 2, "unit_cents": 450},
            {"sku": "CUP-7", "quantity": 1, "unit_cents": 1290},
        ],
    }
    answer = httpx.post(f"{url}/webhooks/shop", json=order, trust_env=False)
    answer.raise_for_status()
    position = answer.json()["position"]
    what = f"POST /webhooks/shop: order {order_id}, accepted at position {position}"
    return Input("webhook", what, "process_order", lambda run: run["event"]["position"] == position)


def land_csv(inbox: Path, name: str) -> Input:
    """A delivery note that is written into the watched folder."""
    rows = "".join(f"SKU-{number % 90},{number % 7 + 1},{number * 5 + 100}\n" for number in range(_ROWS))
    (inbox / name).write_text(f"sku,quantity,unit_cents\n{rows}", "utf-8")
    what = f"inbox/{name}: a file of {_ROWS} rows landed"
    return Input("folder", what, "import_csv", lambda run: run["parameters"]["path"] == name)


def produce_payment(servers: str, payment_id: str, order_id: str) -> Input:
    """A payment as a record of the topic."""
    payment = {"id": payment_id, "order": order_id, "cents": 2190, "currency": "EUR"}
    offset = asyncio.run(_produce(servers, json.dumps(payment).encode()))
    what = f"Kafka topic {_TOPIC}: payment {payment_id} at {offset}"
    return Input(
        "kafka", what, "record_payment", lambda run: run["parameters"]["payment"]["id"] == payment_id
    )


def scheduled() -> Input:
    """What the clock starts by itself when the server comes up: the latest day."""
    what = "schedule @daily: the latest interval"
    return Input("schedule", what, "user_analytics_pipeline", lambda _: True, is_reported=False)


def ensure_topic(servers: str) -> None:
    """Create the topic where it is missing."""
    asyncio.run(_create_topic(servers))


async def _create_topic(servers: str) -> None:
    from aiokafka.admin import AIOKafkaAdminClient, NewTopic

    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    try:
        # A topic that exists is an error code in the answer, and fine.
        await admin.create_topics([NewTopic(_TOPIC, num_partitions=1, replication_factor=1)])
    finally:
        await admin.close()


async def _produce(servers: str, value: bytes) -> str:
    from aiokafka import AIOKafkaProducer

    producer = AIOKafkaProducer(bootstrap_servers=servers, enable_idempotence=True)
    await producer.start()
    try:
        record = await producer.send_and_wait(_TOPIC, value)
    finally:
        await producer.stop()
    return f"partition {record.partition}, offset {record.offset}"
