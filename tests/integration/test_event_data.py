"""Events whose data is kept beside the log: to triggers, tasks and readers they are as they were sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tidemill.errors import StoreUnavailable
from tidemill.events.event import LoggedEvent
from tidemill.service import Service
from tidemill.settings import Settings
from tidemill.storage.contract import RunFilter

WORKFLOW = """
from tidemill import Context, dag, task

@task
async def measure(kind: str, context: Context) -> dict:
    event = context.event
    return {"kind": kind, "length": len(event.data["text"]), "dataref": "dataref" in event.extensions}

@dag
def measured(kind: str):
    return measure(kind)
"""

TRIGGERS = """
triggers:
  - name: large
    dag: measured
    pattern: {data: {kind: [order]}}
    parameters: {kind: $.data.kind}
  - name: small
    dag: measured
    pattern: {data: {kind: [{"anything-but": order}]}}
    parameters: {kind: $.data.kind}
"""


def write(root: Path) -> None:
    for name, text in (("workflows/measured.py", WORKFLOW), ("triggers/all.yaml", TRIGGERS)):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, "utf-8")


def settings(tmp_path: Path) -> Settings:
    return Settings(port=0, claim_check_url=f"file://{tmp_path / 'kept'}", dataref_bytes=1024)


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    write(tmp_path / "project")
    service = Service(tmp_path / "project", settings(tmp_path))
    await service.start()
    yield service
    await service.stop()


async def post(service: Service, event_id: str, text: str) -> httpx.Response:
    body = {"specversion": "1.0", "id": event_id, "source": "/s", "type": "t"}
    async with httpx.AsyncClient(base_url=service.url) as client:
        return await client.post(
            "/events",
            json=body | {"data": {"kind": "order", "text": text}},
            headers={"content-type": "application/cloudevents+json", "prefer": "wait=20"},
        )


async def test_large_events_are_matched_mapped_and_given_to_tasks_whole(
    service: Service, tmp_path: Path
) -> None:
    answer = await post(service, "1", "x" * 5000)
    async with httpx.AsyncClient(base_url=service.url) as client:
        shown = (await client.get("/api/v1/events/1")).json()
        listed = (await client.get("/api/v1/events", params={"type": "t"})).json()["items"]
        why = await client.get("/api/v1/events/1/why")
        audit = (await client.get("/api/v1/audit")).json()

    runs = answer.json()["runs"]
    assert [run["result"] for run in runs] == [
        {"measure": {"kind": "order", "length": 5000, "dataref": False}}
    ] or [run["result"] for run in runs] == [{"kind": "order", "length": 5000, "dataref": False}]
    assert len(shown["event"]["data"]["text"]) == 5000
    assert "dataref" not in shown["event"]
    assert listed[0]["event"]["dataref"].startswith(f"file://{tmp_path}/kept/events/")
    assert why.status_code == 200
    assert audit["wrong"] == 0


async def test_an_event_whose_data_is_lost_is_a_dead_letter_and_stops_nobody(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = service.store.log._data  # type: ignore[attr-defined]

    def lose(name: str, content: bytes) -> None:
        (tmp_path / "kept" / name).unlink()

    monkeypatch.setattr(put, "_remember", lose)
    first = asyncio.create_task(post(service, "1", "x" * 5000))

    async def letters() -> list[Any]:
        async with httpx.AsyncClient(base_url=service.url) as client:
            found: list[Any] = (await client.get("/api/v1/dead-letters")).json()["items"]
            return found

    async with asyncio.timeout(15):
        while not (found := await letters()):  # noqa: ASYNC110 - the API tells nobody of a dead letter
            await asyncio.sleep(0.02)
    second = await post(service, "2", "short")
    first.cancel()

    assert [(one["code"], one["position"]) for one in found] == [("data_lost", 1)]
    assert [run["state"] for run in second.json()["runs"]] == ["succeeded"]
    assert [run.position for run in await service.store.runs.list(RunFilter(), before=None, limit=9)] == [2]


async def test_runs_wait_for_a_store_that_does_not_answer(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    get, failures = service.store.log.get, 0

    async def fail_twice(position: int) -> LoggedEvent | None:
        nonlocal failures
        failures += 1
        if failures <= 2:
            raise StoreUnavailable("the data of events cannot be had")
        return await get(position)

    monkeypatch.setattr(service.store.log, "get", fail_twice)

    answer = await post(service, "1", "x" * 5000)

    assert [run["state"] for run in answer.json()["runs"]] == ["succeeded"]
    assert failures >= 3
