"""One service in this process: what a stop leaves behind."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from tidemill.events.lifecycle import dag_requested
from tidemill.routing.router import Router
from tidemill.runs.records import RunRecovered, TaskLost, TaskStarted, decode
from tidemill.service import Service
from tidemill.settings import Settings
from tidemill.storage.contract import Append, RunFilter

_WORKFLOW = """
import asyncio
from tidemill import dag, task

STARTED = asyncio.Event()

@task
async def wait() -> None:
    STARTED.set()
    await asyncio.Event().wait()

@dag
def waiting():
    wait()
"""


async def test_stops_that_cut_attempts_off_are_not_counted_as_deaths(tmp_path: Path) -> None:
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows" / "waiting.py").write_text(_WORKFLOW, "utf-8")
    settings = Settings(port=0, drain_seconds=0, max_recoveries=1)

    for life in range(4):
        service = Service(tmp_path, settings)
        await service.start()
        if life == 0:
            await service.store.log.append(
                Append(events=[dag_requested(dag="waiting", parameters={}, id="1", by="test")])
            )
        node = service.project.dags["waiting"].tasks[0]
        await node.function.__globals__["STARTED"].wait()
        (run,) = await service.store.runs.list(RunFilter(), before=None, limit=9)
        history = await service.store.runs.history(run.run_id)
        await service.stop()

    records = [record for _, _, body in history for record in decode(body)]
    assert run.state == "running"
    assert [type(record) for record in records if isinstance(record, TaskStarted | TaskLost)] == [
        TaskStarted,
        TaskLost,
        TaskStarted,
        TaskLost,
        TaskStarted,
        TaskLost,
        TaskStarted,
    ]
    assert not any(isinstance(record, RunRecovered) for record in records)


async def test_the_loop_goes_on_while_a_router_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow(Router):
        def __init__(self, *given: Any, **members: Any) -> None:
            time.sleep(0.6)  # as 10,000 rules take
            super().__init__(*given, **members)

    monkeypatch.setattr("tidemill.service.service.Router", Slow)
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows" / "waiting.py").write_text(_WORKFLOW, "utf-8")
    service = Service(tmp_path, Settings(port=0, drain_seconds=0))
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        before = time.monotonic()
        while service._router is None:
            await asyncio.sleep(0.01)
            longest, before = max(longest, time.monotonic() - before), time.monotonic()

    await service.start()
    service._keyed.add("router", service._route)
    try:
        async with asyncio.timeout(20):
            await watch()
    finally:
        await service.stop()

    assert longest < 0.5
