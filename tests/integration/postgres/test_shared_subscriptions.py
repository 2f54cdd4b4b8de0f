"""Subscriptions of two nodes on one database: made, paused and redriven by one, delivered by whoever owns the lane."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.conformance.receiver import receiving, status

from tidemill.service import Service
from tidemill.settings import Settings

pytestmark = pytest.mark.postgres


class Fleet:
    """Two nodes; every request may go to either."""

    def __init__(self, nodes: list[Service], clients: list[httpx.AsyncClient]) -> None:
        self.nodes = nodes
        self._clients = clients

    async def ask(self, node: int, method: str, path: str, **request: Any) -> Any:
        answer = await self._clients[node].request(method, path, **request)
        assert answer.is_success, answer.text
        return answer.json()

    async def send(self, node: int, number: int) -> None:
        event = {"specversion": "1.0", "id": str(number), "source": "/shop", "type": "order.placed"}
        headers = {"content-type": "application/cloudevents+json"}
        await self.ask(node, "POST", "/events", content=json.dumps(event), headers=headers)

    async def until(self, holds: Callable[[], Awaitable[Any]]) -> Any:
        async with asyncio.timeout(20):
            while not (found := await holds()):  # noqa: ASYNC110 - other nodes have no event to wait for
                await asyncio.sleep(0.02)
        return found


@pytest.fixture
async def fleet(tmp_path: Path, postgres_url: str) -> AsyncIterator[Fleet]:
    (tmp_path / "triggers").mkdir()
    nodes, clients = [], []
    for number in range(2):
        settings = Settings(
            port=0,
            database=postgres_url,
            project_name="tidemill",
            node_name=f"node-{number}",
            delivery_allowed_hosts="127.0.0.1",
            drain_seconds=1,
        )
        nodes.append(Service(tmp_path, settings))
        await nodes[-1].start()
        clients.append(httpx.AsyncClient(base_url=nodes[-1].url, trust_env=False, timeout=20))
    found = Fleet(nodes, clients)

    async def balanced() -> bool:
        return all(node.store.shards.owned for node in nodes)

    await found.until(balanced)
    yield found
    for client in clients:
        await client.aclose()
    for node in nodes:
        await node.stop()


async def test_every_subscription_has_one_lane_whichever_node_made_it(fleet: Fleet) -> None:
    async with receiving() as receiver:
        for number in range(12):
            body = {"sink": receiver.url, "protocol": "HTTP", "types": ["order.placed"]}
            await fleet.ask(number % 2, "POST", "/subscriptions", json=body)
        for number in range(5):
            await fleet.send(number % 2, number)
        await receiver.wait_for(60)
        await asyncio.sleep(0.3)

        ids = [json.loads(one.body)["id"] for one in receiver.received]
        assert {one: ids.count(one) for one in ids} == {str(number): 12 for number in range(5)}


async def test_lanes_hear_of_pauses_and_redrives_from_the_other_node(fleet: Fleet) -> None:
    async with receiving(status(410)) as receiver:
        made = []
        for _ in range(6):  # lanes of both nodes among them
            body = {"sink": receiver.url, "protocol": "HTTP", "types": ["order.placed"]}
            made.append((await fleet.ask(0, "POST", "/subscriptions", json=body))["id"])
        await fleet.send(0, 1)

        async def given_up() -> bool:
            listed = await fleet.ask(1, "GET", "/api/v1/dead-letters", params={"stage": "delivery"})
            return len(listed["items"]) == 6

        await fleet.until(given_up)
        receiver.otherwise = status(204)
        for name in made:
            assert (await fleet.ask(0, "POST", f"/api/v1/subscriptions/{name}/redrive", json={}))["done"] == 1
            await fleet.ask(1, "POST", f"/api/v1/subscriptions/{name}/enable", json={})
        await receiver.wait_for(12)
        for name in made:
            await fleet.ask(1, "POST", f"/api/v1/subscriptions/{name}/pause", json={})

        async def paused() -> bool:
            gates = [node._roster.gates[name].state for node in fleet.nodes for name in made]
            return set(gates) == {"paused"}

        await fleet.until(paused)
        await fleet.send(1, 2)

        async def pending() -> bool:
            shown = [await fleet.ask(0, "GET", f"/api/v1/subscriptions/{name}") for name in made]
            return [one["pending"] for one in shown] == [1] * 6

        await fleet.until(pending)
        assert len(receiver.received) == 12
        for name in made:
            await fleet.ask(0, "POST", f"/api/v1/subscriptions/{name}/resume", json={})
        await receiver.wait_for(18)
        assert len(receiver.received) == 18
