"""Limits of pools in a service that runs: set by API, read from the settings again, and kept over restarts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tidemill.errors import DefinitionError
from tidemill.events.lifecycle import dag_requested
from tidemill.service import Service
from tidemill.settings import load
from tidemill.storage.contract import Append

_WORKFLOW = """
from tidemill import dag, task


@task(pool="crm")
async def step() -> None: ...


@task(depends_on_past=True)
async def load(fails: bool) -> None:
    if fails:
        raise ValueError


@dag
def work():
    step()


@dag
def daily(fails: bool):
    load(fails)
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows" / "work.py").write_text(_WORKFLOW, "utf-8")
    write_slots(tmp_path, 2)
    return tmp_path


@pytest.fixture
async def service(root: Path) -> AsyncIterator[Service]:
    service = Service(root, load(root, port=0, drain_seconds=0, reload_seconds=0))
    await service.start()
    yield service
    await service.stop()


def write_slots(root: Path, slots: int) -> None:
    (root / "tidemill.toml").write_text(f"[pools]\ncrm = {slots}\n[resources]\ncpu = 2\n", "utf-8")


async def ask(service: Service, method: str, path: str, **body: Any) -> Any:
    async with httpx.AsyncClient(base_url=service.url) as client:
        answer = await client.request(method, path, json=body or None)
        assert answer.is_success, answer.text
        return answer.json() if "json" in answer.headers["content-type"] else answer.text


async def test_paused_pool_lets_tasks_go_when_slots_are_set(service: Service) -> None:
    await ask(service, "PUT", "/api/v1/pools/crm", slots=0, by="ann")
    await service.store.log.append(
        Append(events=[dag_requested(dag="work", parameters={}, id="1", by="test")])
    )
    while (pool := await ask(service, "GET", "/api/v1/pools/crm"))["queued"] == 0:
        pass
    assert (pool["slots"], pool["used"], pool["set_by"]) == (0, 0, "ann")

    await ask(service, "DELETE", "/api/v1/pools/crm")
    while (await ask(service, "GET", "/api/v1/pools/crm"))["started"] == 0:
        pass

    metrics = await ask(service, "GET", "/metrics")
    assert 'tidemill_pool_slots{pool="crm"} 2.0' in metrics
    assert 'tidemill_pool_started_total{pool="crm"} 1.0' in metrics
    assert 'tidemill_resource_total{resource="cpu"} 2.0' in metrics


async def test_slots_that_were_set_hold_after_a_restart(root: Path, service: Service) -> None:
    await ask(service, "PUT", "/api/v1/pools/crm", slots=7)
    await service.stop()
    again = Service(root, load(root, port=0, drain_seconds=0))
    await again.start()
    try:
        assert (await ask(again, "GET", "/api/v1/pools/crm"))["slots"] == 7
        assert again._engine.scheduler.limits["crm"].slots == 7
    finally:
        await again.stop()
        await service.start()


async def test_settings_are_read_again_with_the_folders(root: Path, service: Service) -> None:
    write_slots(root, 9)

    assert not (await service.reload()).problems

    assert (await ask(service, "GET", "/api/v1/pools/crm"))["slots"] == 9
    assert service._engine.scheduler.limits["crm"].slots == 9


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ('pool="none"', "is of pool 'none'"),
        ('pool="crm", pool_slots=3', "takes 3 slots of pool 'crm', which has 2"),
        ("cpu=64", "asks for 64 of 'cpu', and this machine has 2"),
    ],
)
async def test_edit_that_asks_for_what_is_not_there_is_refused_with_its_place(
    options: str, expected: str, root: Path, service: Service
) -> None:
    edited = _WORKFLOW.replace('pool="crm"', options)
    (root / "workflows" / "work.py").write_text(edited, "utf-8")

    (problem,) = (await service.reload()).problems

    assert (problem.file, problem.line > 0) == ("workflows/work.py", True)
    assert expected in problem.message
    with pytest.raises(DefinitionError, match="task 'step'"):
        Service(root, load(root, port=0))


async def test_settings_that_take_a_pool_away_are_refused(root: Path, service: Service) -> None:
    (root / "tidemill.toml").write_text("", "utf-8")

    (problem,) = (await service.reload()).problems

    assert "is of pool 'crm'" in problem.message
    assert service._engine.scheduler.limits["crm"].slots == 2


async def test_next_run_goes_on_when_the_failed_one_before_is_marked(service: Service) -> None:
    for number, fails in enumerate((True, False)):
        event = dag_requested(dag="daily", parameters={"fails": fails}, id=str(number), by="test")
        await service.store.log.append(Append(events=[event]))
    while len(runs := (await ask(service, "GET", "/api/v1/runs"))["items"]) < 2 or not any(
        one["state"] == "failed" for one in runs
    ):
        pass
    failed = next(one for one in runs if one["state"] == "failed")
    waiting = next(one for one in runs if one is not failed)["id"]
    async with httpx.AsyncClient(base_url=service.url) as client:
        path = f"/api/v1/runs/{waiting}/mark"
        assert (await client.post(path, json={})).status_code == 409

    marked = await ask(service, "POST", f"/api/v1/runs/{failed['id']}/mark", tasks=["load"])

    assert marked == {"run_id": failed["id"], "tasks": ["load"]}
    while (await ask(service, "GET", f"/api/v1/runs/{waiting}"))["state"] != "succeeded":
        pass
