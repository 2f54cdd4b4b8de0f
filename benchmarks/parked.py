"""W8: a million runs that wait, seeded; the service beside them, and a thousand of them woken by event and by time.

    python -m benchmarks W8                     # 100,000 runs
    TIDEMILL_W8_RUNS=1000000 python -m benchmarks W8
    python -m benchmarks.parked [--runs 1000000] [--woken 1000]

The rows are those that the engine writes (summary, two rows of history, wait, approval), made by the store's own
encoders and inserted in bulk, because a million runs take minutes to park one by one; their events and dispositions are
left out, which nothing here reads. Everything that is measured is the service itself, in a process of its own. There is
no floor to compare with; the targets, for a million runs, stand beside what was measured.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from benchmarks.bench import FOLDER
from benchmarks.report import report
from tidemill.clock import SystemClock
from tidemill.dag.definition import Dag
from tidemill.events.event import Event
from tidemill.ids import run_id, shard_of
from tidemill.project.load import load
from tidemill.project.waits import pattern_bodies
from tidemill.runs import waits
from tidemill.runs.records import (
    RunStarted,
    RunWaiting,
    TaskStarted,
    TaskSucceeded,
    TaskWaiting,
    encode,
)
from tidemill.runs.view import encode_graph
from tidemill.service import Service
from tidemill.settings import Settings
from tidemill.storage.commit import _approval_row, _run_row, _wait_row
from tidemill.storage.contract import Append, Asked, NewRun, Wait
from tidemill.storage.sqlite import open_store
from tidemill.storage.sqlite.connection import insert_rows
from tidemill.storage.sqlite.queries import QUERIES

_WORKFLOW = """
from tidemill import approval, dag, sleep, task, wait_for_event

@task
async def order(number: int) -> dict[str, int]:
    return {"id": number}

@task
async def close(found: object) -> bool:
    return True

@dag(max_active_runs=None)
def paid(number: int) -> None:
    known = order(number)
    close(wait_for_event({"type": ["shop.payment"]}, match={"data.order_id": known["id"]}, task_id="wait"))

@dag(max_active_runs=None)
def later(number: int) -> None:
    known = order(number)
    waited = sleep(31_536_000, task_id="wait")
    known >> waited >> close(known)

@dag(max_active_runs=None)
def asked(number: int) -> None:
    known = order(number)
    decided = approval("Close the order?", assignees=["ann", "bob"], task_id="wait")
    known >> decided
    close(decided)
"""
#: Shares of event waits, sleeps and approvals.
_KINDS = ("paid", "paid", "later", "later", "asked")
_PAGE = 20_000
#: From the start of the service to the first time that is up, in seconds; they are spread over `_SPREAD`.
_LEAD = 30.0
_SPREAD = 10.0
#: What W8 measures where `TIDEMILL_W8_RUNS` does not say: a million take minutes to seed.
_RUNS = 100_000
#: Of the service beside a million runs.
_MOST_MEGABYTES = 300
_MOST_SECONDS = 20


def _seed(root: Path, runs: int, woken: int) -> dict[str, float]:
    (root / "workflows").mkdir(parents=True)
    (root / "workflows" / "orders.py").write_text(_WORKFLOW)
    project = load(root, max_tasks=100)
    database = root / ".tidemill" / "tidemill.db"

    async def prepare() -> None:
        store = await open_store(database, clock=SystemClock())
        for dag in project.dags.values():
            await store.runs.save_version(
                dag.dag_id, dag.version, dag.file, dag.source, encode_graph(dag), modules=dag.modules
            )
            await store.waits.keep_patterns(pattern_bodies(dag))
        await store.log.append(Append(events=[Event(id="0", source="/bench", type="bench.seed", data={})]))
        await store.close()

    asyncio.run(prepare())
    begun = time.perf_counter()
    connection = sqlite3.connect(database, isolation_level=None)
    connection.execute("PRAGMA synchronous=OFF")
    due_from = time.time_ns() // 1000 + int((_LEAD + runs / 10_000) * 1_000_000)
    for start in range(0, runs, _PAGE):
        connection.execute("BEGIN")
        rows: dict[str, list[tuple[Any, ...]]] = {}
        for number in range(start, min(start + _PAGE, runs)):
            for query, row in _rows(project.dags, number, woken, due_from):
                rows.setdefault(query, []).append(row)
        for query, found in rows.items():
            insert_rows(connection, QUERIES[query], found)
        connection.execute("COMMIT")
    connection.close()
    size = database.stat().st_size
    return {
        "seconds": round(time.perf_counter() - begun, 1),
        "database_mb": round(size / 1e6),
        "due_from": due_from,
    }


def _rows(dags: Any, number: int, woken: int, due_from: int) -> Iterator[tuple[str, tuple[Any, ...]]]:
    name = _KINDS[number % len(_KINDS)]
    dag: Dag = dags[name]
    at = due_from - 86_400_000_000
    run = run_id("manual", "/bench", str(number), at + number)
    summary = NewRun(
        run_id=run,
        dag=name,
        version=dag.version,
        trigger="manual",
        position=1,
        event_source="/bench",
        event_id=str(number),
        parameters=orjson.dumps({"number": number}),
        queued_at=at,
        correlation_id=str(number),
        hop_count=0,
        shard=shard_of(run),
    )
    row = list(_run_row(number + 1, summary))
    row[4] = "waiting"
    yield "insert_run", tuple(row)
    spec = dag.tasks[dag.index["wait"]].wait
    assert spec is not None
    values: dict[str, Any] = {"match": {"data.order_id": number}, "timeout": None, "duration": 31_536_000}
    values |= {"title": "Close the order?", "assignees": ["ann", "bob"]}
    approval_id = f"a{number:012}"
    waiting = waits.begin(spec, values, at=at, since=1, approval_id=approval_id)
    due_at = waiting.due_at
    if name == "later" and number // len(_KINDS) < woken:  # two of each five sleep
        place = number // len(_KINDS) * 2 + number % 2
        if place < woken:
            due_at = due_from + int(place * _SPREAD * 1_000_000 / woken)
    begun = encode([RunStarted(), TaskStarted("order", 1)])
    done = encode(
        [
            TaskSucceeded("order", 1, orjson.dumps({"id": number})),
            TaskWaiting("wait", 1, due_at, waiting.detail),
            RunWaiting(),
        ]
    )
    yield "insert_history", (number + 1, 0, at, begun)
    yield "insert_history", (number + 1, 1, at, done)
    detail = waiting.detail
    wait = Wait(
        "wait",
        detail["kind"],
        summary.shard,
        due_at=due_at,
        pattern=detail.get("pattern"),
        key=detail.get("key"),
        since=detail.get("since", 0),
    )
    yield "put_wait", _wait_row(run, wait, 1)
    if name == "asked":
        asked = Asked(approval_id, name, "Close the order?", b"null", ["ann", "bob"], 1, at)
        yield "insert_approval", _approval_row(run, wait, asked)


def _memory() -> float:
    """Resident memory of this process, in MB."""
    with Path("/proc/self/status").open(encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) * 1024 / 1e6


async def _serve(root: Path, runs: int, woken: int, due_from: int, began: float) -> None:
    service = Service(root, Settings(port=0, reload_seconds=0))
    await service.start()
    found: dict[str, Any] = {"ready_seconds": round(time.time() - began, 2), "memory_mb": round(_memory(), 1)}
    found["parked"] = service._engine.parked_runs
    log = service.store.log

    # ── by event ──
    first = log.head
    numbers = [number for number in range(runs) if _KINDS[number % len(_KINDS)] == "paid"][:woken]
    sent: dict[str, float] = {}
    begun = time.perf_counter()
    for start in range(0, len(numbers), 50):
        events = []
        for number in numbers[start : start + 50]:
            sent[str(number)] = time.time()
            events.append(
                Event(id=f"e{number}", source="/bench", type="shop.payment", data={"order_id": number})
            )
        await log.append(Append(events=events))
    ended = await _ended(log, first, len(numbers))
    found["by_event"] = {
        "runs": len(ended),
        "per_second": round(len(ended) / (time.perf_counter() - begun)),
        **_percentiles([at - sent[correlation] for correlation, at in ended.items()]),
    }

    # ── one at a time ──
    singles = [number for number in range(runs) if _KINDS[number % len(_KINDS)] == "paid"][woken : woken + 50]
    alone = []
    for number in singles:
        position, before = log.head, time.time()
        event = Event(id=f"e{number}", source="/bench", type="shop.payment", data={"order_id": number})
        await log.append(Append(events=[event]))
        alone += [at - before for at in (await _ended(log, position, 1)).values()]
    found["by_event_alone"] = _percentiles(alone)

    # ── by time ──
    first = log.head
    found["seconds_before_due"] = round(due_from / 1e6 - time.time(), 1)
    ended = await _ended(log, first, woken)
    due = {str(number): at for number, at in _due(runs, woken, due_from)}
    late = [at - due[correlation] / 1e6 for correlation, at in ended.items()]
    found["by_time"] = {"runs": len(ended), **_percentiles(late), "earliest_ms": round(min(late) * 1000, 2)}
    found["memory_mb_after"] = round(_memory(), 1)
    await service.stop()
    print(json.dumps(found), flush=True)


def _due(runs: int, woken: int, due_from: int) -> Iterator[tuple[int, int]]:
    for number in range(runs):
        if _KINDS[number % len(_KINDS)] == "later" and number // len(_KINDS) < woken:
            place = number // len(_KINDS) * 2 + number % 2
            if place < woken:
                yield number, due_from + int(place * _SPREAD * 1_000_000 / woken)


async def _ended(log: Any, position: int, count: int) -> dict[str, float]:
    """When `count` runs had ended, by correlation id: the times of their completion events' commits."""
    ended: dict[str, float] = {}
    while len(ended) < count:
        await asyncio.wait_for(log.wait_for_event(position), 120)
        at = time.time()
        for logged in await log.read(position, 1000):
            position = logged.position
            if logged.event.type == "dev.tidemill.run.succeeded.v1":
                ended[str(logged.event.extensions["correlationid"])] = at
    return ended


def _percentiles(seconds: list[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    return {
        f"p{share}_ms": round(ordered[min(len(ordered) - 1, len(ordered) * share // 100)] * 1000, 2)
        for share in (50, 95, 99)
    } | {"max_ms": round(ordered[-1] * 1000, 2)}


async def w8() -> None:
    """Memory and start of a service beside runs that wait, and how late they are woken by event and by time."""
    await asyncio.to_thread(_measure, int(os.environ.get("TIDEMILL_W8_RUNS", _RUNS)), 1_000)


def _measure(runs: int, woken: int) -> None:
    """Seed, serve, wake; report what came of it."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        seeded = _seed(Path(folder), runs, woken)
        began, due_from = str(time.time()), str(seeded.pop("due_from"))
        sizes = ["--runs", str(runs), "--woken", str(woken)]
        command = [sys.executable, "-m", "benchmarks.parked", *sizes, "--serve", folder, due_from, began]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ))
        if done.returncode:
            sys.exit(done.stderr)
        found = json.loads(done.stdout.strip().splitlines()[-1])
    sizes_of: dict[str, Any] = {"runs": runs, "database_mb": seeded["database_mb"]}
    most = {"target": _MOST_MEGABYTES, "parked": found["parked"], **sizes_of}
    report("W8.memory", found["memory_mb"], "MB", None, when="ready", **most)
    report("W8.memory_after", found["memory_mb_after"], "MB", None, when="all were woken", **most)
    report("W8.ready", found["ready_seconds"], "s", None, target=_MOST_SECONDS, **sizes_of)
    for name in ("by_event", "by_event_alone", "by_time"):
        told = found[name]
        report(
            f"W8.{name}",
            told.pop("p50_ms"),
            "ms",
            None,
            **{**sizes_of, "woken": told.pop("runs", 50)},
            **told,
        )


def main() -> None:
    """Measure, or be the service that is measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--woken", type=int, default=1_000)
    parser.add_argument("--serve", nargs=3, metavar=("FOLDER", "DUE_FROM", "BEGAN"))
    given = parser.parse_args()
    if given.serve:
        folder, due_from, began = given.serve
        asyncio.run(_serve(Path(folder), given.runs, given.woken, int(due_from), float(began)))
        return
    _measure(given.runs, given.woken)


if __name__ == "__main__":
    main()
