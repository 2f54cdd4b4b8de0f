"""The service killed at the commits of subscriptions, redrives and delivery marks: nothing lost, nothing doubled."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.acceptance.server import ServerProcess
from tests.conformance.receiver import receiving, status
from tests.integration.test_delivery_plane import _TRIGGERS, _WORKFLOWS

MOMENTS = ["before_commit", "after_commit"]


class Scene:
    """A server process, and a client that may be left without an answer."""

    def __init__(self, root: Path) -> None:
        self.root = root
        environment = {"TIDEMILL_DELIVERY_ALLOWED_HOSTS": "127.0.0.1"}
        self.server = ServerProcess(root, root.parent / "server.log", environment)

    async def ask(self, method: str, path: str, **request: Any) -> Any:
        """The JSON answer, None where the process died before it answered."""
        async with httpx.AsyncClient(base_url=self.server.url, trust_env=False, timeout=20) as client:
            try:
                answer = await client.request(method, path, **request)
            except httpx.TransportError:
                return None
        assert answer.is_success, answer.text
        return answer.json()

    async def send(self, id: str, data: Any) -> None:  # noqa: A002 - the attribute's own name
        body = {"specversion": "1.0", "id": id, "source": "/shop", "type": "order.placed", "data": data}
        headers = {"content-type": "application/cloudevents+json"}
        assert await self.ask("POST", "/events", content=json.dumps(body), headers=headers) is not None

    async def until(self, holds: Callable[[], Awaitable[Any]]) -> Any:
        async with asyncio.timeout(20):
            while not (found := await holds()):  # noqa: ASYNC110 - the service is another process
                await asyncio.sleep(0.05)
        return found

    async def died(self) -> None:
        assert await self.server.wait(20) is not None, "the process was not killed"
        await self.server.start()


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    root = tmp_path / "project"
    for folder, name, text in (
        ("workflows", "flows.py", _WORKFLOWS),
        ("triggers", "main.yaml", _TRIGGERS),
    ):
        (root / folder).mkdir(parents=True)
        (root / folder / name).write_text(text, "utf-8")
    found = Scene(root)
    yield found
    found.server.kill()


@pytest.mark.parametrize("moment", MOMENTS)
async def test_subscription_is_made_whole_or_not_at_all(scene: Scene, moment: str) -> None:
    async with receiving() as receiver:
        body = {"sink": receiver.url, "protocol": "HTTP", "types": ["order.placed"]}
        await scene.server.start(kill_at=f"append.{moment}:1")
        assert await scene.ask("POST", "/subscriptions", json=body) is None
        await scene.died()
        listed = await scene.ask("GET", "/subscriptions")
        assert len(listed) == (moment == "after_commit")
        if not listed:
            await scene.ask("POST", "/subscriptions", json=body)
        await scene.send("one", {"n": 1})
        await receiver.wait_for(1)

        assert [json.loads(one.body)["id"] for one in receiver.received] == ["one"]


@pytest.mark.parametrize("moment", MOMENTS)
async def test_routing_letter_starts_one_run_when_its_redrive_is_killed(scene: Scene, moment: str) -> None:
    await scene.server.start()
    await scene.send("one", {"other": 1})

    async def letters() -> Any:
        return (await scene.ask("GET", "/api/v1/dead-letters"))["items"]

    (letter,) = await scene.until(letters)
    path = f"/api/v1/dead-letters/{letter['id']}"
    await scene.ask("PATCH", path, json=[{"op": "add", "path": "/data/n", "value": 1}])
    scene.server.kill()
    await scene.server.start(kill_at=f"append.{moment}:1")
    assert await scene.ask("POST", f"{path}/redrive", json={}) is None
    await scene.died()
    for _ in range(2):
        assert (await scene.ask("POST", f"{path}/redrive", json={}))["state"] == "redriven"

    async def ended() -> Any:
        runs = (await scene.ask("GET", "/api/v1/runs", params={"dag": "second"}))["items"]
        return [run for run in runs if run["state"] == "succeeded"]

    await scene.until(ended)
    runs = (await scene.ask("GET", "/api/v1/runs", params={"dag": "first"}))["items"]
    assert [run["state"] for run in runs] == ["succeeded"]
    assert (await scene.ask("GET", path))["redrives"] == 1


@pytest.mark.parametrize("moment", MOMENTS)
async def test_gone_receiver_and_its_letter_are_one_commit_and_a_redrive_another(
    scene: Scene, moment: str
) -> None:
    async with receiving(status(410)) as receiver:
        await scene.server.start()
        body = {"sink": receiver.url, "protocol": "HTTP", "types": ["order.placed"]}
        made = await scene.ask("POST", "/subscriptions", json=body)
        path = f"/api/v1/subscriptions/{made['id']}"
        scene.server.kill()
        await scene.server.start(kill_at=f"deliver.{moment}:1")
        await scene.send("one", {"n": 1})
        await scene.died()

        async def disabled() -> Any:
            shown = await scene.ask("GET", path)
            return shown if shown["state"] == "disabled" else None

        await scene.until(disabled)
        listed = (await scene.ask("GET", "/api/v1/dead-letters"))["items"]
        assert len(listed) == 1
        assert len(receiver.received) == (1 if moment == "after_commit" else 2)
        letter = f"/api/v1/dead-letters/{listed[0]['id']}"

        receiver.otherwise = status(204)
        scene.server.kill()
        before = len(receiver.received)
        await scene.server.start(kill_at=f"statement.{moment}:1")
        await scene.ask("POST", f"{letter}/redrive", json={})
        await scene.died()
        await scene.ask("POST", f"{letter}/redrive", json={})
        await scene.ask("POST", f"{path}/enable", json={})
        await receiver.wait_for(before + 1)

        async def settled() -> bool:
            shown = await scene.ask("GET", path)
            return bool(shown["pending"] == 0)

        await scene.until(settled)
        assert len(receiver.received) == before + 1
        assert (await scene.ask("GET", letter))["redrives"] == 1
