"""A real service with triggers of every kind, asked over its API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from tidemill.events.event import Event
from tidemill.service import Service
from tidemill.settings import Settings
from tidemill.storage.contract import Append

MARKER = """
  - name: marker
    dag: take
    filters: [{exact: {type: marker}}]
    paused: true
"""
WORKFLOW = """
from tidemill import dag, task

@task
async def keep(value):
    return value

@task
async def forever(value):
    import asyncio
    await asyncio.Event().wait()

@dag(dag_id="take")
def take(n: int = 0):
    return keep(n)

@dag(dag_id="slow")
def slow(n: int = 0):
    return forever(n)
"""
TRIGGERS = (
    """
triggers:
  - name: plain
    dag: take
    pattern: {type: [order], data: {n: [{numeric: [">", 1]}]}}
    parameters: {n: $.data.n}
  - name: once
    dag: take
    filters: [{exact: {type: order.once}}]
    admission: {idempotency: {key: $.data.n, ttl: 1h}}
  - name: calm
    dag: take
    filters: [{exact: {type: order.calm}}]
    admission: {debounce: {period: 1h, max_wait: 90m}, key: $.data.n}
  - name: slots
    dag: slow
    filters: [{exact: {type: order.slots}}]
    admission: {concurrency: {limit: 1}}
  - name: asleep
    dag: take
    filters: [{exact: {type: order.asleep}}]
    paused: true
  - name: broken
    dag: take
    filters: [{exact: {type: order.broken}}]
    parameters: {n: $.data.missing}
"""
    + MARKER
)


def write(root: Path, name: str, text: str) -> None:
    (root / name).parent.mkdir(exist_ok=True, parents=True)
    (root / name).write_text(text, "utf-8")


class Scene:
    def __init__(self, service: Service, client: httpx.AsyncClient) -> None:
        self.service = service
        self.client = client
        self._sent = 0

    async def send(self, type: str, **data: Any) -> int:  # noqa: A002
        """The position of a new event, once it is routed."""
        self._sent += 1
        event = Event(id=f"e{self._sent}", source="/test", type=type, data=data)
        # The router writes down at once only what is matched.
        after = Event(id=f"after{self._sent}", source="/test", type="marker")
        answer, marker = await self.service.store.log.append(Append(events=[event, after]))
        async with asyncio.timeout(20):
            while self.service.store.log.routed < marker.position:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        return answer.position

    async def get(self, path: str, **where: Any) -> Any:
        answer = await self.client.get(f"/api/v1/{path}", params=where)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def post(self, path: str, body: Any = None) -> Any:
        answer = await self.client.post(f"/api/v1/{path}", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def why(self, position: int, trigger: str) -> Any:
        found = await self.get(f"events/{position}/why", trigger=trigger)
        (one,) = found["triggers"]
        return one

    async def became(self, position: int) -> dict[str, str]:
        shown = await self.get(f"events/{position}")
        return {one["trigger"]: one["kind"] for one in shown["dispositions"]}


@asynccontextmanager
async def served(root: Path) -> AsyncIterator[Scene]:
    service = Service(root, Settings(port=0, reload_seconds=0, drain_seconds=0))
    await service.start()
    try:
        async with httpx.AsyncClient(base_url=service.url) as client:
            yield Scene(service, client)
    finally:
        await service.stop()


async def until(ask: Callable[[], Awaitable[Any]], holds: Callable[[Any], Any]) -> Any:
    """The first answer that holds."""
    async with asyncio.timeout(20):
        while True:
            answer = await ask()
            if holds(answer):
                return answer
            await asyncio.sleep(0.01)
