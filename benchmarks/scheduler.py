"""S1: what the scheduler costs per ready task with 10,000 waiting, against a bare deque.

Processor time: nothing here waits for anything.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.report import report
from tidemill import dag, task
from tidemill.dag.build import build
from tidemill.dag.definition import Dag
from tidemill.engine.live import LiveRun
from tidemill.engine.scheduler import Grant, Scheduler
from tidemill.engine.scheduler.pool import PoolLimit
from tidemill.runs.state import RunState, TaskState
from tidemill.storage.contract import NewRun

__all__ = ["s1"]

_WAITING = 10_000
_TASKS = 100
_SLOTS = 64
#: Attempts that end together.
_ENDING = 8

#: Name to the options of each of its DAGs' tasks: what is in use together with 10,000 waiting.
_SCENES: Mapping[str, Sequence[dict[str, Any]]] = {
    "one DAG, nothing asked": [{}],
    "100 DAGs, nothing asked": [{}] * 100,
    "100 DAGs, one pool": [{"pool": "etl"}] * 100,
    "20 DAGs, one pool, priorities": [{"pool": "etl", "priority": n} for n in range(20)],
    "100 DAGs, resources of 8 shapes": [{"cpu": 1 + n % 4, "memory": 1 + n % 2} for n in range(100)],
    "100 DAGs, max_active": [{"max_active": 2}] * 100,
    "100 runs, max_active_per_run": [{"max_active_per_run": 2}],
}


async def s1() -> None:
    """Queue, choose, take and release 10,000 tasks, 64 at once."""
    for name, options in _SCENES.items():
        dags = [_dag(f"d{number}", one) for number, one in enumerate(options)]
        seconds = min(_scheduled(dags) for _ in range(3))
        bare = min(_bare() for _ in range(3))
        report(
            "S1",
            seconds / _WAITING * 1e6,
            "µs per ready task",
            bare / _WAITING * 1e6,
            scene=name,
            waiting=_WAITING,
            slots=_SLOTS,
        )


def _dag(dag_id: str, options: dict[str, Any]) -> Dag:
    @task
    async def step() -> None: ...

    @dag(dag_id=dag_id)
    def work() -> None:
        for number in range(_TASKS):
            step.override(task_id=f"t{number}", **options)()

    built = build(work)
    if not isinstance(built, Dag):
        raise TypeError(built)
    return built


def _run(made: Dag, number: int) -> LiveRun:
    run = NewRun(
        run_id=f"{made.dag_id}-{number}",
        dag=made.dag_id,
        version=made.version,
        trigger="bench",
        position=1,
        event_source="",
        event_id="",
        parameters=b"{}",
        queued_at=0,
        correlation_id="",
        hop_count=0,
    )
    live = LiveRun(run, made, RunState(run.run_id, made, b"{}"))
    live.state.tasks[:] = [TaskState.READY] * len(made.tasks)
    return live


def _scheduled(dags: Sequence[Dag]) -> float:
    scheduler = Scheduler(
        {"loop": _SLOTS}, pools={"etl": PoolLimit(slots=_SLOTS - 16)}, stock={"cpu": 64, "memory": 64}
    )
    now = 1_000_000
    scheduler.tick(now)
    lives = [_run(dags[number % len(dags)], number) for number in range(_WAITING // _TASKS)]
    for live in lives:
        scheduler.enter(live)
    running: deque[Grant] = deque()
    done = 0
    begun = time.process_time()
    for live in lives:
        for index in range(_TASKS):
            ticket = scheduler.queue(live, index)
            if ticket is not None:
                scheduler.wait(ticket)
    while True:
        while scheduler.next() is not None:
            running.append(scheduler.take())
        if not running:
            break
        now += 100
        scheduler.tick(now)
        for _ in range(min(_ENDING, len(running))):
            scheduler.release(running.popleft())
            done += 1
    seconds = time.process_time() - begun
    if done != _WAITING:
        raise RuntimeError(f"{done} of {_WAITING} tasks were started")
    return seconds


def _bare() -> float:
    waiting: deque[tuple[object, int]] = deque()
    running: deque[tuple[object, int]] = deque()
    free, owner = _SLOTS, object()
    begun = time.process_time()
    for index in range(_WAITING):
        waiting.append((owner, index))
    while waiting or running:
        while free and waiting:
            running.append(waiting.popleft())
            free -= 1
        for _ in range(min(_ENDING, len(running))):
            running.popleft()
            free += 1
    return time.process_time() - begun
