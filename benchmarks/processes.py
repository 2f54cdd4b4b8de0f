"""W9: worker processes of this machine beside a bare `ProcessPoolExecutor`: rate, warm and cold starts, memory."""

from __future__ import annotations

import asyncio
import concurrent.futures
import multiprocessing
import statistics
import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

from benchmarks.report import report
from tidemill.dag.definition import Dag
from tidemill.executors.process.executor import ProcessExecutor
from tidemill.executors.remote.request import Limits
from tidemill.project.workflows import load_source
from tidemill.runs.attempts import Attempt, Inputs, Outcome, OutcomeKind

__all__ = ["w9"]

_WORKERS = 2
_TASKS = 5000
_ROUNDS = 5
_STARTS = 1000
_COLD_STARTS = 10
#: As many as workers would have from the engine, and as many again on their way.
_IN_FLIGHT = 2 * _WORKERS

_SOURCE = """
from tidemill import dag, task

@task(executor="process")
def nothing(n): return n

@dag
def d(n: int): nothing(n)
"""

_Call = Callable[[int], Awaitable[object]]


def _nothing(n: int) -> int:
    return n


async def w9() -> None:
    """No-op tasks through the executor against the same no-ops through the standard library's pool."""
    dag = load_source(_SOURCE, "workflows/d.py", "d")
    pool = concurrent.futures.ProcessPoolExecutor(_WORKERS, mp_context=multiprocessing.get_context("spawn"))
    executor = _make()
    ours, floor = _caller(executor, dag), _plain_caller(pool)
    await asyncio.gather(*(call(n) for call in (ours, floor) for n in range(100)))
    await _report_rate(ours, floor)
    await _report_warm_start(ours, floor)
    _report_memory(executor.pids[1:], list(pool._processes))
    await executor.close()
    pool.shutdown()
    await _report_cold_starts(dag)


def _make(*, workers: int = _WORKERS) -> ProcessExecutor:
    return ProcessExecutor(limits=Limits(1 << 20), workers=workers, environment={"PATH": "/usr/bin:/bin"})


def _caller(executor: ProcessExecutor, dag: Dag) -> _Call:
    loop = asyncio.get_running_loop()

    def call(number: int) -> Awaitable[None]:
        done = loop.create_future()

        def report_of(outcome: Outcome) -> None:
            assert outcome.kind is OutcomeKind.SUCCEEDED, outcome
            done.set_result(None)

        inputs = Inputs({}, b'{"n":%d}' % number)
        executor.start(Attempt(f"run-{number}", dag, dag.tasks[0], 1, (), {}, inputs), report_of)
        return done

    return call


def _plain_caller(pool: concurrent.futures.ProcessPoolExecutor) -> _Call:
    loop = asyncio.get_running_loop()
    return lambda number: loop.run_in_executor(pool, _nothing, number)


async def _report_rate(ours: _Call, floor: _Call) -> None:
    rates: dict[str, list[float]] = {"ours": [], "floor": []}
    for _ in range(_ROUNDS):
        for name, call in (("floor", floor), ("ours", ours)):
            begun = time.perf_counter()
            await _keep_flying(call)
            rates[name].append(_TASKS / (time.perf_counter() - begun))
    report(
        "W9",
        statistics.median(rates["ours"]),
        "attempts/s",
        statistics.median(rates["floor"]),
        what="rate",
        workers=_WORKERS,
        tasks=_TASKS,
        in_flight=_IN_FLIGHT,
    )


async def _keep_flying(call: _Call) -> None:
    numbers = iter(range(_TASKS))

    async def lane() -> None:
        for number in numbers:
            await call(number)

    await asyncio.gather(*(lane() for _ in range(_IN_FLIGHT)))


async def _report_warm_start(ours: _Call, floor: _Call) -> None:
    taken = {name: await _times(call, range(_STARTS)) for name, call in (("floor", floor), ("ours", ours))}
    report(
        "W9",
        statistics.median(taken["ours"]) * 1e3,
        "ms",
        statistics.median(taken["floor"]) * 1e3,
        what="warm start to reported outcome, median",
        p99_ms=round(sorted(taken["ours"])[_STARTS * 99 // 100] * 1e3, 3),
    )


async def _times(call: _Call, numbers: Iterable[int]) -> list[float]:
    taken = []
    for number in numbers:
        begun = time.perf_counter()
        await call(number)
        taken.append(time.perf_counter() - begun)
    return taken


async def _report_cold_starts(dag: Dag) -> None:
    """Until the first outcome is reported: from nothing, and by a further worker of a fork server that is there."""
    held = load_source(_SOURCE.replace("return n", "import time; time.sleep(0.2)"), "workflows/h.py", "d")
    from_nothing, forked, floor = [], [], []
    for _ in range(_COLD_STARTS):
        executor = _make()
        call = _caller(executor, dag)
        from_nothing += await _times(call, [0])
        holding = asyncio.ensure_future(
            _caller(executor, held)(1)
        )  # so that the next one needs a further worker
        await asyncio.sleep(0.05)
        forked += await _times(call, [2])
        await holding
        await executor.close()
        context = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
            floor += await _times(_plain_caller(pool), [0])
    plain = statistics.median(floor) * 1e3
    for what, taken in (("from nothing", from_nothing), ("worker forked", forked)):
        report("W9", statistics.median(taken) * 1e3, "ms", plain, what=f"cold start, {what}")


def _report_memory(ours: list[int], floor: list[int]) -> None:
    """Proportional set size: pages that processes share are divided among them."""
    report(
        "W9",
        statistics.mean(map(_pss, ours)) / 1024,
        "MiB",
        statistics.mean(map(_pss, floor)) / 1024,
        what="memory of a worker (proportional)",
    )


def _pss(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    return 0
