"""A project and its stages in this process, without HTTP: what the engine's benchmarks run on."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tidemill.clock import SystemClock
from tidemill.engine.engine import Engine
from tidemill.executors.loop import LoopExecutor
from tidemill.executors.thread import ThreadExecutor
from tidemill.project.load import load
from tidemill.project.model import Project
from tidemill.routing.router import Router
from tidemill.settings import Settings
from tidemill.storage.contract import Store
from tidemill.storage.postgres import open_store as open_postgres
from tidemill.storage.sqlite import open_store
from tidemill.telemetry.metrics import Metrics

__all__ = ["FOLDER", "stages", "wait_for_runs"]

PROJECT = Path(__file__).parent / "project"
#: On the disk that the project is on, not in memory.
FOLDER = Path(__file__).parent.parent / ".cache" / "bench"


@asynccontextmanager
async def stages(
    settings: Settings, project: Path = PROJECT, *, postgres: str | None = None
) -> AsyncIterator[tuple[Store, Project, Path]]:
    """Store, router and engine on a fresh SQLite file, or on the (fresh) PostgreSQL database at `postgres`."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        clock = SystemClock()
        store: Store
        if postgres is None:
            store = await open_store(Path(folder) / "t.db", clock=clock)
        else:
            shared = await open_postgres(postgres, clock=clock)
            await shared.membership.join("bench", "", timeout_seconds=60, load=dict, busy=frozenset)
            store = shared
        loaded = load(project, max_tasks=20_000)
        executors = {
            "loop": LoopExecutor(max_result_bytes=1 << 20),
            "thread": ThreadExecutor(workers=4, max_result_bytes=1 << 20),
        }
        engine = Engine(store, loaded.dags, executors, clock=clock, settings=settings, metrics=Metrics())
        router = Router(store, loaded, clock=clock, max_hops=16)
        await engine.recover()
        tasks = [asyncio.ensure_future(engine.run()), asyncio.ensure_future(router.run())]
        try:
            yield store, loaded, Path(folder)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for executor in executors.values():
                await executor.close()
            await store.close()


async def wait_for_runs(store: Store, head: int, *, seconds: float = 300) -> None:
    """Return when the log ends at `head`: each run's completion is one event."""
    deadline = time.monotonic() + seconds
    while store.log.head < head:
        if time.monotonic() > deadline:
            raise TimeoutError(f"the log ends at {store.log.head}, not at {head}")
        await asyncio.wait_for(store.log.wait_for_event(store.log.head), seconds)
