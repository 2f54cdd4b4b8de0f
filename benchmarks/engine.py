"""W1, W2, W3: what the engine adds to the rows it writes."""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from pathlib import Path

from benchmarks.bench import FOLDER, stages, wait_for_runs
from benchmarks.floor import bare_commits, chains, recording, replay
from benchmarks.report import report
from tidemill.events.event import Event
from tidemill.events.lifecycle import dag_requested
from tidemill.service.garbage import collect_rarely
from tidemill.settings import Settings
from tidemill.storage.contract import Append

__all__ = ["w1", "w2", "w2_mapped", "w3"]


async def _run_many(dag: str, runs: int, tasks: int, settings: Settings, bench: str) -> None:
    # Keeping every row costs a sixth of the time: what is timed is not recorded.
    seconds = sorted([await _run_once(dag, runs, settings) for _ in range(3)])[1]
    with recording() as batches:
        await _run_once(dag, runs, settings)
    in_flight = settings.max_running_tasks
    floor = min([await chains(batches, FOLDER / "floor.db", in_flight=in_flight) for _ in range(3)])
    rows = min([await replay(batches, FOLDER / "floor.db") for _ in range(3)])
    completions = runs * tasks
    report(
        bench,
        completions / seconds,
        "task completions/s",
        completions / floor,
        dag=dag,
        runs=runs,
        max_live_runs=settings.max_live_runs,
        max_running_tasks=settings.max_running_tasks,
        commits=len(batches),
        rows_only_floor=round(completions / rows),
        synchronous="FULL",
    )


async def _run_once(dag: str, runs: int, settings: Settings) -> float:
    """Seconds from the first event to the last completion."""
    async with stages(settings) as (store, _, _):
        collect_rarely()
        begun = time.perf_counter()
        for start in range(0, runs, 500):
            numbers = range(start, min(start + 500, runs))
            events = [dag_requested(dag=dag, parameters={}, id=str(n), by="bench") for n in numbers]
            await store.log.append(Append(events=events))
        await wait_for_runs(store, 2 * runs)
        return time.perf_counter() - begun


async def w1() -> None:
    """Durable no-op tasks in chains of ten, a thousand and more runs in flight."""
    await _run_many("chain10", 5000, 10, Settings(max_live_runs=1200, max_running_tasks=1200), "W1")


async def w2() -> None:
    """One run of 10,000 no-op tasks side by side, and a join."""
    await _run_many("fan10000", 1, 10_001, Settings(max_running_tasks=1024), "W2")


async def w2_mapped() -> None:
    """One run that maps a task over 10,000 and over 100,000 items: what an item costs must not grow."""
    seconds: dict[int, float] = {}
    memory: dict[int, int] = {}
    for size in (10_000, 100_000):
        before = _resident_bytes()
        async with stages(Settings(max_running_tasks=1024, max_result_bytes=1 << 24)) as (store, _, _):
            collect_rarely()
            begun = time.perf_counter()
            asked = dag_requested(dag="mapped", parameters={"size": size}, id=str(size), by="bench")
            await store.log.append(Append(events=[asked]))
            await wait_for_runs(store, 2)
            seconds[size] = time.perf_counter() - begun
            memory[size] = _resident_bytes() - before
    per_item = {size: spent / size for size, spent in seconds.items()}
    report(
        "W2.mapped",
        100_000 / seconds[100_000],
        "task completions/s",
        10_000 / seconds[10_000],
        floor_is="the same with 10,000 items",
        items=100_000,
        growth_per_item=round(per_item[100_000] / per_item[10_000], 2),
        memory_mib=round(memory[100_000] / (1 << 20), 1),
    )


async def w3() -> None:
    """From handing an event to the log to its first task's first line, nothing else going on."""
    async with stages(Settings()) as (store, project, folder):
        started = project.dags["first"].tasks[0].function.__globals__["STARTED"]
        seconds = []
        for number in range(600):
            event = Event(id=str(number), source="/bench", type="com.example.first")
            begun = time.perf_counter()
            await store.log.append(Append(events=[event]))
            while event.id not in started:
                await asyncio.sleep(0.0005)
            seconds.append(started[event.id] - begun)
            await asyncio.sleep(0.003)
        bare = await bare_commits(folder / "bare.db", 600)
    # Three commits lie on the way: the event, the run, the start of its first task.
    for name, pick in (("W3.p50", _p50), ("W3.p99", _p99)):
        report(
            name,
            pick(seconds) * 1e3,
            "ms",
            3 * pick(bare) * 1e3,
            events=len(seconds),
            floor_is="3 bare commits",
        )


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _p50(values: list[float]) -> float:
    return statistics.median(values)


def _p99(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.99)]
