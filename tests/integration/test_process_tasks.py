"""Tasks with a process of their own, in a whole service: retried, mapped, reloaded, and told apart from its secrets."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tidemill.service import Service
from tidemill.settings import Settings

WORKFLOW = """
import os
from beside import ANSWER
from tidemill import Context, Retry, dag, task

@task(executor="process")
def look():
    return {"pid": os.getpid(), "secrets": [v for v in os.environ.values() if "canary" in v], "answer": ANSWER}

@task(executor="process", retries=2, retry_delay=0)
def die_once(context: Context):
    if context.attempt == 1:
        os._exit(1)
    return context.attempt

@task
async def numbers():
    return [1, 2, 3]

@task(executor="process")
def double(n, context: Context):
    return [context.task_id, n * 2]

@task
async def gather(doubled, attempt, seen):
    return {"doubled": doubled, "attempt": attempt, "seen": seen}

@task(memory="64MiB", retry=Retry(max_attempts=9, give_up_on=["MemoryExceeded"]))
def hungry():
    return len(bytearray(1 << 30))

@dag
def isolated():
    return gather(double.expand(n=numbers()), die_once(), look())

@dag
def too_much():
    return hungry()
"""


@pytest.fixture
async def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Service]:
    monkeypatch.delenv("TIDEMILL_API_TOKEN", raising=False)
    monkeypatch.setenv("TIDEMILL_SECRET_OF_MINE", "canary")
    monkeypatch.setenv("OTHER_SECRET", "canary")
    folder = tmp_path / "workflows"
    folder.mkdir()
    (folder / "isolated.py").write_text(WORKFLOW)
    (folder / "beside.py").write_text("ANSWER = 42\n")
    service = Service(tmp_path, Settings(port=0, reload_seconds=0, process_workers=2))
    await service.start()
    yield service
    await service.stop()


async def run(service: Service, dag: str) -> dict[str, Any]:
    """A run of this DAG, once it has ended."""
    async with httpx.AsyncClient(base_url=service.url, timeout=60) as client:
        answer = await client.post(f"/api/v1/dags/{dag}/runs", json={"parameters": {}})
        assert answer.status_code < 300, answer.text
        async with asyncio.timeout(60):
            while True:
                found: dict[str, Any] = (await client.get(f"/api/v1/runs/{answer.json()['id']}")).json()
                if found["ended_at"] is not None:
                    return found
                await asyncio.sleep(0.02)


def made(found: dict[str, Any]) -> Any:
    """What the run's last task returned."""
    return next(one["result"] for one in found["tasks"] if one["id"] == "gather")


async def test_tasks_with_processes_of_their_own_make_a_run(service: Service) -> None:
    found = await run(service, "isolated")

    assert found["state"] == "succeeded", found
    result = made(found)
    assert [value for _, value in result["doubled"]] == [2, 4, 6]
    assert len({name for name, _ in result["doubled"]}) == 3
    assert result["attempt"] == 2
    assert result["seen"]["pid"] != os.getpid()
    assert result["seen"] | {"pid": 0} == {"pid": 0, "secrets": [], "answer": 42}


async def test_task_that_takes_too_much_memory_fails_at_once_and_says_so(service: Service) -> None:
    found = await run(service, "too_much")

    assert found["state"] == "failed"
    [hungry] = found["tasks"]
    assert (hungry["attempts"], hungry["error"]["type"]) == (1, "MemoryExceeded")


async def test_edit_of_a_module_beside_the_file_is_seen(service: Service, tmp_path: Path) -> None:
    first = await run(service, "isolated")

    (tmp_path / "workflows" / "beside.py").write_text("ANSWER = 43\n")
    await service.reload()
    second = await run(service, "isolated")

    assert [made(one)["seen"]["answer"] for one in (first, second)] == [42, 43]
