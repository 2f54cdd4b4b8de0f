"""Executors of both kinds under virtual time, and a way to run one function as one attempt."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest

from tidemill.dag.definition import Dag, TaskNode
from tidemill.dag.parameters import Parameters
from tidemill.dag.retry import Retry
from tidemill.executors.loop import LoopExecutor
from tidemill.executors.thread import ThreadExecutor
from tidemill.runs.attempts import Attempt, Executor, Outcome
from tidemill.testing.clock import ManualClock


class Bench:
    """Starts attempts and gathers what is reported."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.loop = LoopExecutor(max_result_bytes=100, clock=self.clock)
        self.thread = ThreadExecutor(workers=4, max_result_bytes=100, clock=self.clock)
        self.reported: list[Outcome] = []
        self._arrived = asyncio.Event()

    def start(
        self,
        function: Callable[..., Any],
        *args: Any,
        index: int = 0,
        timeout: float | None = None,
        number: int = 1,
    ) -> Executor:
        """Begin one attempt in the executor for its kind."""
        is_coroutine = inspect.iscoroutinefunction(function)
        node = TaskNode(
            task_id=f"t{index}",
            index=index,
            function=function,
            is_coroutine=is_coroutine,
            executor="loop" if is_coroutine else "thread",
            context_parameter=None,
            args=args,
            kwargs={},
            has_references=False,
            upstream=(),
            downstream=(),
            retry=Retry(),
            timeout=None if timeout is None else timedelta(seconds=timeout),
        )
        executor: Executor = self.loop if is_coroutine else self.thread
        dag = Dag(
            dag_id="d",
            version="v",
            tasks=(node,),
            index={node.task_id: index},
            roots=(index,),
            output=None,
            parameters=Parameters(),
        )
        executor.start(Attempt("r", dag, node, number, args, {}), self._report)
        return executor

    async def outcome(self, function: Callable[..., Any], *args: Any, **how: Any) -> Outcome:
        """What one attempt came to."""
        self.start(function, *args, **how)
        return (await self.outcomes(1))[-1]

    async def outcomes(self, count: int) -> list[Outcome]:
        """The first `count` outcomes reported since the last look."""
        async with asyncio.timeout(10):
            while len(self.reported) < count:
                self._arrived.clear()
                await self._arrived.wait()
        found, self.reported = self.reported, []
        return found

    def _report(self, outcome: Outcome) -> None:
        self.reported.append(outcome)
        self._arrived.set()


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench()
    yield bench
    await bench.loop.close()
    await bench.thread.close()
