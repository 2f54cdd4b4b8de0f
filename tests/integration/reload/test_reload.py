"""A service whose folders are edited while it works: what is live changes between two events, and no event is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tidemill.events.event import Event
from tidemill.service import Service
from tidemill.settings import Settings
from tidemill.storage.contract import Append, RunFilter

WORKFLOW = """
from tidemill import dag, task

@task
async def keep(n: int, label: str) -> str:
    return f"{n} LABEL {label}"

@dag(dag_id="numbers")
def numbers(n: int, label: str = ""):
    return keep(n, label)
"""
TRIGGERS = """
triggers:
  - {name: numbers, dag: numbers, filters: [{exact: {type: number}}], parameters: {n: $.data.n, label: LABEL}}
"""


def write(root: Path, name: str, text: str) -> None:
    (root / name).parent.mkdir(exist_ok=True, parents=True)
    (root / name).write_text(text, "utf-8")


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    root = tmp_path / "project"
    write(root, "workflows/numbers.py", WORKFLOW)
    write(root, "triggers/numbers.yaml", TRIGGERS)
    service = Service(root, Settings(port=0, reload_seconds=0))
    await service.start()
    yield service
    await service.stop()


async def until(holds: Callable[[], Any]) -> None:
    async with asyncio.timeout(20):
        while True:
            found = holds()
            if await found if asyncio.iscoroutine(found) else found:
                return
            await asyncio.sleep(0.01)


async def ended(service: Service, count: int) -> None:
    async def are() -> bool:
        counts = await service.store.runs.counts()
        return sum(number for (_, state), number in counts.items() if state == "succeeded") >= count

    await until(are)


async def test_edits_under_load_lose_and_double_no_event(service: Service, tmp_path: Path) -> None:
    root, sent = tmp_path / "project", 0
    async with httpx.AsyncClient(base_url=service.url) as client:
        for number in range(12):
            write(root, "triggers/numbers.yaml", TRIGGERS.replace("LABEL", f"v{number}"))
            reloading = asyncio.create_task(client.post("/api/v1/project/reload"))
            while not reloading.done():
                events = [
                    Event(id=str(sent + n), source="/s", type="number", data={"n": n}) for n in range(5)
                ]
                await service.store.log.append(Append(events=events))
                sent += len(events)
                await asyncio.sleep(0.002)
            assert (await reloading).json()["problems"] == []
        await ended(service, sent)
        report = (await client.get("/api/v1/audit")).json()
        versions = (await client.get("/api/v1/project")).json()["versions"]

    assert report["wrong"] == 0
    assert report["dispositions"] == {"run": sent}
    assert len({one["version"] for one in versions}) >= 12


async def test_runs_end_on_the_definition_that_they_began_with(service: Service, tmp_path: Path) -> None:
    root = tmp_path / "project"
    slow = WORKFLOW.replace("return f", "import asyncio\n    await asyncio.sleep(0.5)\n    return f")
    write(root, "workflows/numbers.py", slow.replace("LABEL", "old"))
    async with httpx.AsyncClient(base_url=service.url) as client:
        await client.post("/api/v1/project/reload")
        await service.store.log.append(
            Append(events=[Event(id="1", source="/s", type="number", data={"n": 1})])
        )

        async def has_run() -> bool:
            return bool(await service.store.runs.list(RunFilter(), before=None, limit=1))

        await until(has_run)
        write(root, "workflows/numbers.py", WORKFLOW.replace("LABEL", "new"))
        await client.post("/api/v1/project/reload")
        await service.store.log.append(
            Append(events=[Event(id="2", source="/s", type="number", data={"n": 2})])
        )
        await ended(service, 2)
        runs = (await client.get("/api/v1/runs")).json()["items"]
        results = [
            (await client.get(f"/api/v1/runs/{run['id']}")).json()["tasks"][0]["result"]
            for run in sorted(runs, key=lambda run: run["id"])
        ]

    assert sorted(results) == ["1 old LABEL", "2 new LABEL"]
    assert len({run["version"] for run in runs}) == 2


async def test_a_wrong_edit_keeps_the_service_at_work(service: Service, tmp_path: Path) -> None:
    write(tmp_path / "project", "triggers/numbers.yaml", "triggers: [{name: x}]")
    async with httpx.AsyncClient(base_url=service.url) as client:
        found = (await client.post("/api/v1/project/reload")).json()
        await service.store.log.append(
            Append(events=[Event(id="1", source="/s", type="number", data={"n": 1})])
        )
        await ended(service, 1)

    assert found["version"] == service.project.version
    assert {problem["file"] for problem in found["problems"]} == {"triggers/numbers.yaml"}


async def test_sources_and_subscriptions_come_and_go(service: Service, tmp_path: Path) -> None:
    root, drops = tmp_path / "project", tmp_path / "drops"
    drops.mkdir()
    source = f"sources:\n  - {{name: drops, files: {{path: {drops}, quiet: 100ms, type: number}}}}\n"
    subscription = "subscriptions:\n  - {name: all, filters: [], webhook: {url: 'http://127.0.0.1:9/none'}}\n"

    async def states() -> dict[str, str]:
        async with httpx.AsyncClient(base_url=service.url) as client:
            items = (await client.get("/api/v1/sources")).json()["items"]
        return {item["name"]: item["state"] for item in items}

    async def is_live() -> bool:
        return (await states()).get("drops") == "live"

    write(root, "triggers/drops.yaml", source + subscription)
    await service.reload()
    await until(is_live)
    (drops / "one.csv").write_text("1")
    await until(lambda: service.store.log.head >= 1)

    async def is_on_its_way() -> bool:
        return bool(await service.store.outbox.list(1))

    await until(is_on_its_way)

    (root / "triggers" / "drops.yaml").unlink()
    await service.reload()
    gone = await states()
    (drops / "two.csv").write_text("2")
    head = service.store.log.head
    await service.store.log.append(Append(events=[Event(id="x", source="/s", type="other")]))

    assert "drops" not in gone
    assert service.store.log.head == head + 1
    assert await service.store.outbox.list(head + 1) == []
