"""Runs plain functions in threads.

A thread cannot be killed: an attempt that times out or is cancelled is reported at once, but its function goes on until
it returns, and keeps its thread so long. Functions that may hang belong in a process of their own.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from tidemill.clock import Clock, SystemClock
from tidemill.executors.result import cancelled, failed, succeeded
from tidemill.executors.threads import Threads
from tidemill.executors.time_limits import TimeLimits, has_time_limits
from tidemill.runs.attempts import Attempt, Outcome

__all__ = ["ThreadExecutor"]


class ThreadExecutor:
    """See `Executor`."""

    def __init__(self, *, workers: int, max_result_bytes: int, clock: Clock | None = None) -> None:
        self._max_result_bytes = max_result_bytes
        self._clock = clock or SystemClock()
        self._threads: Threads[Outcome] = Threads(workers, name="task")
        self._running: dict[tuple[str, int], asyncio.Task[Outcome]] = {}
        self._closed = False
        self._loop = asyncio.get_running_loop()

    def start(self, attempt: Attempt, report: Callable[[Outcome], None]) -> None:
        if self._closed:
            return
        key = (attempt.run_id, attempt.index)
        task = self._loop.create_task(self._wait(attempt))
        self._running[key] = task

        def ended(task: asyncio.Task[Outcome]) -> None:
            if self._running.get(key) is task:  # a run that came back begins its attempts again
                del self._running[key]
            if not self._closed:
                report(cancelled(attempt) if task.cancelled() else task.result())

        task.add_done_callback(ended)

    def cancel(self, run_id: str, index: int) -> None:
        task = self._running.get((run_id, index))
        if task is not None:
            task.cancel()

    async def close(self) -> None:
        self._closed = True
        running = list(self._running.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        self._threads.close()

    async def _wait(self, attempt: Attempt) -> Outcome:
        if not has_time_limits(attempt):
            return await self._submit(attempt, attempt.kwargs)
        try:
            async with asyncio.timeout(None) as deadline:
                limits = TimeLimits(attempt, self._clock, lambda: deadline.reschedule(self._loop.time()))
                try:
                    return await self._submit(attempt, limits.arguments())
                finally:
                    limits.cancel()
        except TimeoutError:  # never the function's own: that is an outcome
            assert limits.broken is not None  # noqa: S101 - for the type checker
            return limits.broken

    def _submit(self, attempt: Attempt, kwargs: Mapping[str, Any]) -> asyncio.Future[Outcome]:
        # Functions called by the task see the context of this attempt, and what they set ends with it.
        invoke = partial(contextvars.copy_context().run, self._invoke, attempt, kwargs)
        return asyncio.wrap_future(self._threads.submit(invoke))

    def _invoke(self, attempt: Attempt, kwargs: Mapping[str, Any]) -> Outcome:
        try:
            result = attempt.node.function(*attempt.args, **kwargs)
        except BaseException as error:  # also SystemExit: a task must not end the service
            return failed(attempt, error)
        return succeeded(attempt, result, self._max_result_bytes)
