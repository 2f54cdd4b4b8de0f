"""F1, F2: the same work on PostgreSQL, beside its own floor, and on two nodes beside one."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg

from benchmarks.bench import FOLDER, stages, wait_for_runs
from benchmarks.report import report
from tidemill.events.lifecycle import dag_requested
from tidemill.service.garbage import collect_rarely
from tidemill.settings import Settings
from tidemill.storage.commit import Commit
from tidemill.storage.contract import Append
from tidemill.storage.postgres.queries import QUERIES
from tidemill.testing.postgres import PostgresServer, require_binaries

__all__ = ["f1", "f2"]

_RUNS, _TASKS = 3000, 10
_SETTINGS = Settings(max_live_runs=1200, max_running_tasks=1200)
Batch = dict[str, list[tuple[Any, ...]]]


@contextmanager
def _server() -> Iterator[PostgresServer]:
    with (
        tempfile.TemporaryDirectory(prefix="tidemill-postgres-", ignore_cleanup_errors=True) as folder,
        PostgresServer(require_binaries(), Path(folder)) as server,
    ):
        yield server


async def f1() -> None:
    """W1 on PostgreSQL; the floor is asyncpg writing the same rows in the same batches and nothing else."""
    with _server() as server:
        seconds = [await _run_once(server.create_database(f"run{place}"), fenced=True) for place in range(3)]
        unfenced = [
            await _run_once(server.create_database(f"free{place}"), fenced=False) for place in range(3)
        ]
        batches = await _record(server.create_database("recorded"))
        floors = []
        for place in range(3):
            url = server.create_database(f"floor{place}")
            await (await _opened(url)).close()
            floors.append(await _replay(url, batches))
    completions = _RUNS * _TASKS
    report(
        "F1",
        completions / sorted(seconds)[1],
        "task completions/s",
        completions / min(floors),
        dag="chain10",
        runs=_RUNS,
        commits=len(batches),
        fence_cost=round(sorted(seconds)[1] / sorted(unfenced)[1] - 1, 3),
        synchronous_commit="on",
        floor_is="asyncpg, same rows and batches",
    )


async def _opened(url: str) -> Any:
    from tidemill.clock import SystemClock
    from tidemill.storage.postgres import open_store

    return await open_store(url, clock=SystemClock())


async def _run_once(url: str, *, fenced: bool) -> float:
    async with stages(_SETTINGS, postgres=url) as (store, _, _):
        if not fenced:
            store.shards.shared = False  # the engine then hands over no epochs
        collect_rarely()
        begun = time.perf_counter()
        for start in range(0, _RUNS, 500):
            numbers = range(start, start + 500)
            events = [dag_requested(dag="chain10", parameters={}, id=str(n), by="bench") for n in numbers]
            await store.log.append(Append(events=events))
        await wait_for_runs(store, 2 * _RUNS)
        return time.perf_counter() - begun


async def _record(url: str) -> list[Batch]:
    """The rows of every commit of one run of the benchmark."""
    kept: list[Batch] = []
    begin = Commit.__init__

    def begin_and_keep(self: Commit, facts: Any) -> None:
        begin(self, facts)
        kept.append(self.rows)

    Commit.__init__ = begin_and_keep  # type: ignore[method-assign]
    try:
        await _run_once(url, fenced=True)
    finally:
        Commit.__init__ = begin  # type: ignore[method-assign]
    return kept


async def _replay(url: str, batches: Sequence[Batch]) -> float:
    """Seconds that the rows cost without an engine: one transaction a batch, set-wise, prepared statements."""
    connection = await asyncpg.connect(url)
    begun = time.perf_counter()
    for batch in batches:
        async with connection.transaction():
            for query, rows in batch.items():
                if rows:
                    columns = [list(column) for column in zip(*rows, strict=True)]
                    await connection.execute(QUERIES[query], *columns)
    seconds = time.perf_counter() - begun
    await connection.close()
    return seconds


_WORKFLOW = """
import time
from tidemill import dag, task

@task
async def spin() -> None:
    until = time.perf_counter() + 0.002
    while time.perf_counter() < until:
        pass

@dag(max_active_runs=None)
def spinning():
    spin()
"""


_TRIGGER = """
triggers:
  - name: spin
    dag: spinning
    filters:
      - exact: { type: com.example.spin }
"""


async def f2() -> None:
    """Runs of two milliseconds of computing each, on one node and on two."""
    rates = {}
    for nodes in (1, 2):
        rates[nodes] = await asyncio.to_thread(_rate_of, nodes)
    report(
        "F2",
        rates[2],
        "runs/s on two nodes",
        rates[1],
        floor_is="one node",
        milliseconds_of_computing=2,
    )


def _rate_of(count: int, runs: int = 2000) -> float:
    FOLDER.mkdir(parents=True, exist_ok=True)
    with _server() as server, tempfile.TemporaryDirectory(dir=FOLDER) as name:
        folder = Path(name)
        (folder / "workflows").mkdir()
        (folder / "triggers").mkdir()
        (folder / "workflows" / "spinning.py").write_text(_WORKFLOW, "utf-8")
        (folder / "triggers" / "spin.yaml").write_text(_TRIGGER, "utf-8")
        url = server.create_database("fleet")
        processes = [_node(folder, url, f"node{place}") for place in range(count)]
        try:
            ports = [json.loads(process.stdout.readline())["port"] for process in processes]
            return _measure(server, ports, runs)
        finally:
            for process in processes:
                process.kill()
                process.wait()


def _node(folder: Path, url: str, name: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.servers", "node", str(folder)],
        stdout=subprocess.PIPE,
        env={**os.environ, "TIDEMILL_DATABASE": url, "TIDEMILL_NODE_NAME": name},
    )


def _measure(server: PostgresServer, ports: list[int], runs: int) -> float:
    import httpx

    while server.run("SELECT count(DISTINCT node) FROM shards WHERE node <> ''", "fleet") != str(len(ports)):
        time.sleep(0.1)
    time.sleep(1.5)
    begun = time.perf_counter()
    with httpx.Client() as client:
        for start in range(0, runs, 500):
            batch = [
                {"specversion": "1.0", "id": str(n), "source": "/bench", "type": "com.example.spin"}
                for n in range(start, start + 500)
            ]
            answer = client.post(
                f"http://127.0.0.1:{ports[0]}/events",
                content=json.dumps(batch),
                headers={"content-type": "application/cloudevents-batch+json"},
            )
            answer.raise_for_status()
    while server.run("SELECT count(*) FROM runs WHERE ended_at IS NOT NULL", "fleet") != str(runs):
        time.sleep(0.05)
    return runs / (time.perf_counter() - begun)
