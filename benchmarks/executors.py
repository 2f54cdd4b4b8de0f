"""W7: what the executor of a Ray cluster adds to plain Ray, per task: one call per attempt, and in packs."""

from __future__ import annotations

import asyncio
import logging
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks.report import report
from tidemill.dag.definition import Dag
from tidemill.executors.remote.ray import RayExecutor
from tidemill.executors.remote.request import Limits
from tidemill.project.workflows import load_source
from tidemill.runs.attempts import Attempt, Inputs, Outcome, OutcomeKind
from tidemill.testing.clusters import TestCluster

__all__ = ["w7"]

_TASKS = 2000
_ROUNDS = 5
#: As the engine bounds it (`ray_max_running_tasks`).
_IN_FLIGHT = 256

_SOURCE = """
from tidemill import dag, task

@task(executor="ray", idempotent={packs})
def nothing(n): return n

@dag
def d(n: int): nothing(n)
"""


def _nothing(n: int) -> int:
    return n


async def w7() -> None:
    """No-op tasks through the executor against the same no-ops through Ray itself."""
    import ray

    with TestCluster("ray") as cluster:
        await asyncio.to_thread(
            ray.init, address=cluster.address, log_to_driver=False, logging_level=logging.ERROR
        )
        plain = ray.remote(max_retries=0)(_nothing)

        class Actor:
            def call(self, numbers: list[int]) -> list[int]:
                return [_nothing(number) for number in numbers]

        actors = [ray.remote(Actor).options(num_cpus=0).remote() for _ in range(2)]
        executors = {
            packs: RayExecutor(cluster.address, limits=Limits(1 << 20), pack_actors=2 if packs else 0)
            for packs in (False, True)
        }
        for executor in executors.values():
            await executor.connect()

        async def plainly() -> None:
            await _keep_flying(lambda n: _plain_call(plain, n), _TASKS)

        async def packed() -> None:
            calls = [list(range(start, start + 50)) for start in range(0, _TASKS, 50)]
            await asyncio.gather(*[actors[k % 2].call.remote(numbers) for k, numbers in enumerate(calls)])

        floors = {False: plainly, True: packed}
        for packs, executor in executors.items():
            dag = load_source(_SOURCE.format(packs=packs), "workflows/d.py", "d")
            floor, ours = await _alternately(floors[packs], lambda e=executor, d=dag: _ours(e, d))  # type: ignore[misc]
            report(
                "W7",
                _TASKS / ours,
                "attempts/s",
                _TASKS / floor,
                packs=packs,
                tasks=_TASKS,
                in_flight=_IN_FLIGHT,
                seconds_per_task_over_plain=round(ours / floor, 3),
                added_microseconds_per_task=round((ours - floor) / _TASKS * 1e6, 1),
            )
            await executor.close()
        ray.shutdown()


async def _alternately(
    floor: Callable[[], Awaitable[None]], ours: Callable[[], Awaitable[None]]
) -> tuple[float, float]:
    """Medians of both in turn, after a round that warms the workers."""
    seconds: dict[bool, list[float]] = {False: [], True: []}
    for number in range(_ROUNDS + 1):
        for which, work in ((False, floor), (True, ours)):
            begun = time.perf_counter()
            await work()
            if number:
                seconds[which].append(time.perf_counter() - begun)
    return statistics.median(seconds[False]), statistics.median(seconds[True])


async def _plain_call(function: Any, number: int) -> None:
    assert await function.remote(number) == number


async def _keep_flying(call: Callable[[int], Awaitable[None]], count: int) -> None:
    """`count` calls, a bounded number of them at once."""
    numbers = iter(range(count))

    async def lane() -> None:
        for number in numbers:
            await call(number)

    await asyncio.gather(*(lane() for _ in range(_IN_FLIGHT)))


async def _ours(executor: RayExecutor, dag: Dag) -> None:
    loop = asyncio.get_running_loop()

    def call(number: int) -> Awaitable[None]:
        done = loop.create_future()

        def report_of(outcome: Outcome) -> None:
            assert outcome.kind is OutcomeKind.SUCCEEDED, outcome
            done.set_result(None)

        inputs = Inputs({}, b'{"n":%d}' % number)
        executor.start(Attempt(f"run-{number}", dag, dag.tasks[0], 1, (), {}, inputs), report_of)
        return done

    await _keep_flying(call, _TASKS)
