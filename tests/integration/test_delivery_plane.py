"""A whole service with real receivers, on both databases: subscriptions that come and go, dead letters, trees."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook
from tests.conformance.databases import DATABASES
from tests.conformance.receiver import Receiver, hang, receiving, reset, status

from tidemill.service import Service
from tidemill.settings import Settings

_WORKFLOWS = """
from tidemill import dag, task

@task
async def work(n: int) -> int:
    if n < 0:
        raise ValueError("negative")
    return n

@dag
def first(n: int = 0):
    work(n)

@dag
def second(n: int = 0):
    work(n)

@dag
def after(root: str = ""):
    work(1)
"""
_TRIGGERS = """
triggers:
  - name: start
    filters: [{exact: {type: order.placed}}]
    dag: first
    parameters: {n: $.data.n}
  - name: chain
    filters: [{exact: {type: dev.tidemill.run.succeeded.v1, source: /tidemill/dags/first}}]
    dag: second
"""


class Plane:
    """A service that can be stopped and started again on the same state."""

    def __init__(self, root: Path, database: str | None) -> None:
        self.root = root
        settings: dict[str, Any] = {
            "port": 0,
            "delivery_allowed_hosts": "127.0.0.1",
            "drain_seconds": 1,
            "project_name": "tidemill",
        }
        self._settings = Settings(**settings if database is None else {**settings, "database": database})
        self.service: Service | None = None
        self.client = httpx.AsyncClient()

    async def start(self) -> None:
        self.service = Service(self.root, self._settings)
        await self.service.start()
        await self.client.aclose()
        self.client = httpx.AsyncClient(base_url=self.service.url, trust_env=False, timeout=20)

    async def stop(self) -> None:
        await self.client.aclose()
        if self.service is not None:
            await self.service.stop()
            self.service = None

    async def send(self, id: str, data: Any = None, type: str = "order.placed") -> int:  # noqa: A002
        body = {"specversion": "1.0", "id": id, "source": "/shop", "type": type, "data": data or {"n": 1}}
        answer = await self.client.post(
            "/events", content=json.dumps(body), headers={"content-type": "application/cloudevents+json"}
        )
        assert answer.status_code == 202, answer.text
        return int(answer.json()["position"])

    async def subscribe(self, receiver: Receiver, **members: Any) -> dict[str, Any]:
        body = {"sink": receiver.url, "protocol": "HTTP", **members}
        answer = await self.client.post("/subscriptions", json=body)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    async def get(self, path: str, **where: Any) -> Any:
        answer = await self.client.get(path, params=where)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def post(self, path: str, **body: Any) -> Any:
        answer = await self.client.post(path, json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def until(self, holds: Callable[[], Awaitable[Any]]) -> Any:
        async with asyncio.timeout(20):
            while not (found := await holds()):  # noqa: ASYNC110 - the service is outside of this loop
                await asyncio.sleep(0.02)
        return found


def _ids(receiver: Receiver) -> list[str]:
    return [json.loads(one.body)["id"] for one in receiver.received if one.method == "POST"]


@asynccontextmanager
async def _opened(root: Path, database: str | None, triggers: str) -> AsyncIterator[Plane]:
    (root / "workflows").mkdir(parents=True)
    (root / "workflows" / "flows.py").write_text(_WORKFLOWS, "utf-8")
    (root / "triggers").mkdir()
    (root / "triggers" / "main.yaml").write_text(triggers, "utf-8")
    plane = Plane(root, database)
    await plane.start()
    try:
        yield plane
    finally:
        await plane.stop()


@pytest.fixture(params=DATABASES)
def database(request: pytest.FixtureRequest) -> str | None:
    return None if request.param == "sqlite" else str(request.getfixturevalue("postgres_url"))


@pytest.fixture
async def plane(tmp_path: Path, database: str | None) -> AsyncIterator[Plane]:
    async with _opened(tmp_path / "project", database, _TRIGGERS) as opened:
        yield opened


# ── subscriptions ─────────────────────────────────────────────────────────────────────────────────────────


async def test_subscription_is_live_at_once_and_matches_from_its_own_position(plane: Plane) -> None:
    before = await plane.send("before")
    async with receiving() as receiver:
        made = await plane.subscribe(receiver, types=["order.placed"])
        since = (await plane.get(f"/api/v1/subscriptions/{made['id']}"))["since"]
        after = await plane.send("after")
        await receiver.wait_for(1)

        assert before < since < after
        assert _ids(receiver) == ["after"]


async def test_subscription_survives_a_restart_and_goes_on_with_what_was_pending(plane: Plane) -> None:
    async with receiving(hang) as receiver:
        await plane.subscribe(receiver, types=["order.placed"])
        await plane.send("one")
        await receiver.wait_for(1)
        await plane.stop()
        receiver.otherwise = status(204)
        await plane.start()
        await receiver.wait_for(2)
        await plane.send("two")
        await receiver.wait_for(3)

        assert _ids(receiver) == ["one", "one", "two"]


async def test_updated_and_deleted_subscriptions_match_as_they_are_in_the_order_of_the_log(
    plane: Plane,
) -> None:
    async with receiving() as receiver:
        made = await plane.subscribe(receiver, types=["order.placed"])
        path = f"/subscriptions/{made['id']}"
        changed = {"sink": receiver.url, "protocol": "HTTP", "types": ["order.paid"]}
        assert (await plane.client.put(path, json=changed)).status_code == 200
        await plane.send("placed")
        await plane.send("paid", type="order.paid")
        await receiver.wait_for(1)
        assert (await plane.client.delete(path)).status_code == 200
        last = await plane.send("paid again", type="order.paid")

        async def routed() -> bool:
            return plane.service is not None and plane.service.store.log.routed >= last

        await plane.send("marker")  # starts a run, so that the router's place is on disk
        await plane.until(routed)
        assert _ids(receiver) == ["paid"]
        assert (await plane.client.get(path)).status_code == 404


async def test_what_is_pending_for_a_deleted_subscription_is_cancelled(plane: Plane) -> None:
    async with receiving(status(500)) as receiver:
        made = await plane.subscribe(receiver, types=["order.placed"])
        position = await plane.send("one")
        await receiver.wait_for(1)
        await plane.client.delete(f"/subscriptions/{made['id']}")

        async def cancelled() -> bool:
            assert plane.service is not None
            found = await plane.service.store.outbox.list(position)
            return [state.value for _, state, _, _ in found] == ["cancelled"]

        await plane.until(cancelled)


async def test_two_secrets_sign_during_a_rotation_and_the_new_one_alone_after_it(plane: Plane) -> None:
    async with receiving() as receiver:
        settings = {"sign": True}
        made = await plane.subscribe(receiver, types=["order.placed"], protocolsettings=settings)
        path = f"/api/v1/subscriptions/{made['id']}/secrets"
        second = (await plane.post(path, overlap_seconds=3600))["signingsecret"]
        await plane.send("one")
        await receiver.wait_for(1)
        third = (await plane.post(path, overlap_seconds=0))["signingsecret"]
        await plane.send("two")
        await receiver.wait_for(2)

        first, last = receiver.received
        for secret in (made["signingsecret"], second):
            Webhook(secret).verify(first.body, first.headers, json_parse=False)
        assert len(first.headers["webhook-signature"].split()) == 2
        Webhook(third).verify(last.body, last.headers, json_parse=False)
        assert len(last.headers["webhook-signature"].split()) == 1
        shown = json.dumps([await plane.get("/subscriptions"), await plane.get("/api/v1/subscriptions")])
        assert not any(secret in shown for secret in (made["signingsecret"], second, third))


async def test_dead_and_hanging_receivers_delay_nobody(plane: Plane) -> None:
    async with receiving(hang) as hanging, receiving(reset) as dead, receiving() as good:
        for receiver in (hanging, dead, good):
            await plane.subscribe(receiver, types=["order.placed"])
        for number in range(50):
            await plane.send(f"e{number}")
        await good.wait_for(50)

        assert sorted(_ids(good)) == sorted(f"e{number}" for number in range(50))
        assert len(hanging.received) <= 8


async def test_receiver_that_is_gone_stays_disabled_over_a_restart_until_it_is_enabled(plane: Plane) -> None:
    async with receiving(status(410)) as receiver:
        made = await plane.subscribe(receiver, types=["order.placed"])
        path = f"/api/v1/subscriptions/{made['id']}"
        await plane.send("one")

        async def disabled() -> bool:
            return bool((await plane.get(path))["state"] == "disabled")

        await plane.until(disabled)
        receiver.otherwise = status(204)
        await plane.stop()
        await plane.start()
        await plane.send("two")
        async with receiving() as other:
            await plane.subscribe(other, types=["order.placed"])
            await plane.send("three")
            await other.wait_for(1)
        assert _ids(receiver) == ["one"]
        shown = await plane.get(path)
        assert (shown["state"], shown["pending"]) == ("disabled", 2)

        await plane.post(f"{path}/enable", by="ana")
        await receiver.wait_for(3)
        assert sorted(_ids(receiver)) == ["one", "three", "two"]
        log = (await plane.get(f"{path}/attempts"))["items"]
        assert next((one["outcome"], one["status"]) for one in reversed(log)) == ("dead_lettered", 410)


async def test_paused_subscription_keeps_what_it_would_get(plane: Plane) -> None:
    async with receiving() as receiver:
        made = await plane.subscribe(receiver, types=["order.placed"])
        path = f"/api/v1/subscriptions/{made['id']}"
        await plane.send("zero")
        await receiver.wait_for(1)
        await plane.post(f"{path}/pause", by="ana", reason="maintenance")
        await plane.send("one")
        await plane.send("two")

        async def waiting() -> bool:
            return bool((await plane.get(path))["pending"] == 2)

        await plane.until(waiting)
        assert (await plane.get(path))["reason"] == "maintenance"
        assert len(receiver.received) == 1
        await plane.post(f"{path}/resume", by="ana")
        await receiver.wait_for(3)

        assert sorted(_ids(receiver)) == ["one", "two", "zero"]


# ── dead letters ──────────────────────────────────────────────────────────────────────────────────────────


async def _letter(plane: Plane, **where: Any) -> dict[str, Any]:
    async def found() -> Any:
        return (await plane.get("/api/v1/dead-letters", **where))["items"]

    return dict((await plane.until(found))[0])


async def test_delivery_letter_is_edited_and_delivered_again(plane: Plane) -> None:
    async with receiving() as receiver:
        receiver.answers = [status(410)]
        made = await plane.subscribe(receiver, types=["order.placed"])
        await plane.send("one", {"n": 1, "card": "secret"})
        letter = await _letter(plane, stage="delivery")
        path = f"/api/v1/dead-letters/{letter['id']}"
        patch = [{"op": "remove", "path": "/data/card"}]
        answer = await plane.client.patch(
            path, json=patch, headers={"content-type": "application/json-patch+json"}, params={"by": "ana"}
        )
        assert answer.status_code == 200, answer.text
        await plane.post(f"/api/v1/subscriptions/{made['id']}/enable")
        await plane.post(f"{path}/redrive", by="ana")
        await plane.post(f"{path}/redrive", by="ana")
        await receiver.wait_for(2)

        assert [json.loads(one.body)["data"] for one in receiver.received] == [
            {"n": 1, "card": "secret"},
            {"n": 1},
        ]
        shown = await plane.get(path)
        assert shown["state"] == "redriven"
        assert [(one["kind"], one["by"]) for one in shown["actions"]] == [
            ("edited", "ana"),
            ("redriven", "ana"),
        ]


async def test_routing_letter_starts_its_run_once_however_often_it_is_redriven(plane: Plane) -> None:
    position = await plane.send("one", {"other": 1})
    letter = await _letter(plane, stage="routing")
    path = f"/api/v1/dead-letters/{letter['id']}"
    assert (letter["code"], letter["position"]) == ("mapping_failed", position)
    patch = [{"op": "add", "path": "/data/n", "value": 7}]
    assert (await plane.client.patch(path, json=patch)).status_code == 200
    await asyncio.gather(*(plane.client.post(f"{path}/redrive", json={"by": "ana"}) for _ in range(5)))

    async def done() -> Any:
        runs = (await plane.get("/api/v1/runs", dag="second"))["items"]
        return [run for run in runs if run["state"] == "succeeded"]

    await plane.until(done)
    runs = (await plane.get("/api/v1/runs", dag="first"))["items"]
    assert [(run["trigger"], run["parameters"]) for run in runs] == [("start", {"n": 7})]
    assert (await plane.get(path))["redrives"] == 1


async def test_discarded_letter_cannot_be_redriven(plane: Plane) -> None:
    await plane.send("one", {"other": 1})
    letter = await _letter(plane, stage="routing")
    path = f"/api/v1/dead-letters/{letter['id']}"
    refused = await plane.client.post(f"{path}/discard", json={})
    await plane.post(f"{path}/discard", by="ana", reason="test data")

    assert refused.status_code == 422
    assert (await plane.client.post(f"{path}/redrive", json={})).status_code == 409
    assert (await plane.get("/api/v1/dead-letters", state="open"))["items"] == []


# ── trees ─────────────────────────────────────────────────────────────────────────────────────────────────


async def test_tree_is_told_of_once_when_all_that_an_event_caused_has_ended(plane: Plane) -> None:
    async with receiving() as receiver:
        await plane.subscribe(receiver, types=["dev.tidemill.tree.completed.v1"])
        position = await plane.send("root")
        await receiver.wait_for(1)
        await plane.send("other")
        await receiver.wait_for(2)

        trees = [json.loads(one.body) for one in receiver.received]
        assert [tree["id"] for tree in trees] == ["root", "other"]
        data = trees[0]["data"]
        assert data["runs"] == {"succeeded": 2}
        assert data["root"] == {"source": "/shop", "id": "root", "type": "order.placed", "position": position}
