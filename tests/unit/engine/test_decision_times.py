"""A record's time is the time of its decision, also when the database had to be read in between."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tidemill.engine.engine import Engine
from tidemill.events.event import Event
from tidemill.executors.loop import LoopExecutor
from tidemill.project.load import load
from tidemill.settings import Settings
from tidemill.storage.contract import Append, NewRun, RouteBatch, RunSummary
from tidemill.telemetry.metrics import Metrics
from tidemill.testing.clock import ManualClock
from tidemill.testing.databases import open_own

_WORKFLOW = """
from tidemill import dag, task

@task
async def ship() -> None: ...

@dag(dag_id="orders")
def orders():
    return ship()
"""
_READING_SECONDS = 10


async def test_engine_dates_decisions_after_the_reading_that_came_before_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tidemill_database_url: str | None
) -> None:
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows" / "orders.py").write_text(_WORKFLOW, "utf-8")
    clock, dags = ManualClock(), load(tmp_path).dags
    store = await open_own(tmp_path / "tidemill.db", tidemill_database_url, clock=clock)
    run = NewRun(
        run_id="run-1",
        dag="orders",
        version=dags["orders"].version,
        trigger="order",
        position=1,
        event_source="/shop",
        event_id="1",
        parameters=b"{}",
        queued_at=clock.now_us(),
        correlation_id="1",
        hop_count=0,
    )
    await store.log.append(Append(events=[Event(id="1", source="/shop", type="order")]))
    await store.runs.route(RouteBatch(expected=0, cursor=1, runs=[run]))
    read = store.runs.queued

    async def read_slowly(dag: str, *, after: str, limit: int, **which: object) -> list[RunSummary]:
        page = await read(dag, after=after, limit=limit)
        clock.advance(_READING_SECONDS)
        return page

    monkeypatch.setattr(store.runs, "queued", read_slowly)
    executors = {"loop": LoopExecutor(max_result_bytes=1024)}
    engine = Engine(store, dags, executors, clock=clock, settings=Settings(), metrics=Metrics())
    begun = clock.now_us()

    await engine.recover()
    work = asyncio.create_task(engine.run())
    await store.log.wait_for_event(1)  # the completion event
    history = await store.runs.history("run-1")
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)
    await store.close()

    assert len(history) >= 2
    assert min(at for _, at, _ in history) >= begun + _READING_SECONDS * 1_000_000
