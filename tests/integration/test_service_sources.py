"""A whole service: files that are archived after their run, schedules of triggers/, pauses that outlive the process."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.integration.folder_scene import until

from tidemill.service.service import Service
from tidemill.settings import Settings
from tidemill.storage.contract import EventFilter, RunFilter

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="watches by inotify")

WORKFLOWS = """
from pathlib import Path
from tidemill import dag, task

@task
def read(folder: str, path: str) -> int:
    return len((Path(folder) / path).read_text())

@task
def tick(name: str) -> str:
    return name

@dag
def count(folder: str, path: str):
    return read(folder, path)

@dag
def beat(name: str):
    return tick(name)
"""
TRIGGERS = """
sources:
  - name: inbox
    files: {path: inbox, archive: {to: archive}}
  - name: beat
    schedule: {every: 1s, type: com.example.beat}
triggers:
  - name: landed
    dag: count
    filters: [{exact: {source: /tidemill/files/inbox}}]
    parameters: {folder: $.data.folder, path: $.data.path}
  - name: beats
    dag: beat
    filters: [{exact: {type: com.example.beat}}]
    parameters: {name: $.data.schedule}
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in (("workflows/all.py", WORKFLOWS), ("triggers/all.yaml", TRIGGERS)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


@asynccontextmanager
async def serving(root: Path) -> AsyncIterator[tuple[Service, httpx.AsyncClient]]:
    service = Service(root, Settings(port=0, drain_seconds=5))
    await service.start()
    async with httpx.AsyncClient(base_url=f"{service.url}/api/v1", trust_env=False) as client:
        try:
            yield service, client
        finally:
            await service.stop()


async def states(client: httpx.AsyncClient) -> dict[str, str]:
    items: list[dict[str, Any]] = (await client.get("/sources")).json()["items"]
    return {item["name"]: item["state"] for item in items}


async def test_file_is_archived_when_its_run_has_succeeded(root: Path) -> None:
    async with serving(root) as (service, _):
        (root / "inbox" / "a.csv").write_text("12345")
        await until(lambda: (root / "archive" / "a.csv").exists())
        runs = await service.store.runs.list(RunFilter(dag="count"), before=None, limit=10)

    assert [run.state for run in runs] == ["succeeded"]
    assert list((root / "inbox").iterdir()) == []


async def test_schedule_of_triggers_starts_runs(root: Path) -> None:
    async with serving(root) as (service, _):
        async with asyncio.timeout(20):
            while not (runs := await service.store.runs.list(RunFilter(dag="beat"), before=None, limit=10)):  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    assert runs[0].parameters == b'{"name":"beat"}'


async def test_pause_outlives_the_service_and_loses_nothing(root: Path) -> None:
    where = EventFilter(source="/tidemill/files/inbox")
    async with serving(root) as (service, client):
        await until(lambda: (root / "inbox").exists())
        answer = await client.post("/sources/inbox/pause")
        (root / "inbox" / "a.csv").write_text("landed while paused")
    async with serving(root) as (service, client):
        while_paused = await states(client)
        events_while_paused = await service.store.log.list(where, before=None, limit=10)
        await client.post("/sources/inbox/resume")
        await until(lambda: (root / "archive" / "a.csv").exists())
        afterwards = await states(client)
        (entry,) = await service.store.log.list(where, before=None, limit=10)

    assert answer.json()["state"] == "paused"
    assert while_paused["inbox"] == "paused"
    assert while_paused["beat"] in {"starting", "live"}
    assert events_while_paused == []
    assert afterwards["inbox"] == "live"
    assert entry.event.subject == "a.csv"
