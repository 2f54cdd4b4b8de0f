"""Runs plain functions in threads.

A thread cannot be killed: an attempt that times out or is cancelled is reported at once, but its function goes on until
it returns, and keeps its thread so long. Functions that may hang belong in a process of their own.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from tidemill.runs.attempts import Attempt, Outcome
from tidemill.executors.result import cancelled, failed, succeeded, timed_out

__all__ = ["ThreadExecutor"]


class ThreadExecutor:
    """See `Executor`."""

    def __init__(self, *, workers: int, max_result_bytes: int) -> None:
        self._max_result_bytes = max_result_bytes
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="task")
        self._running: dict[tuple[str, int], asyncio.Task[Outcome]] = {}
        self._loop = asyncio.get_running_loop()

    def start(self, attempt: Attempt, report: Callable[[Outcome], None]) -> None:
        key = (attempt.run_id, attempt.node.index)
        task = self._loop.create_task(self._wait(attempt))
        self._running[key] = task

        def ended(task: asyncio.Task[Outcome]) -> None:
            del self._running[key]
            report(cancelled(attempt) if task.cancelled() else task.result())

        task.add_done_callback(ended)

    def cancel(self, run_id: str, index: int) -> None:
        task = self._running.get((run_id, index))
        if task is not None:
            task.cancel()

    async def close(self) -> None:
        running = list(self._running.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _wait(self, attempt: Attempt) -> Outcome:
        context = contextvars.copy_context()
        future = self._loop.run_in_executor(self._pool, context.run, self._invoke, attempt)
        timeout = attempt.node.timeout
        try:
            async with asyncio.timeout(None if timeout is None else timeout.total_seconds()):
                return await future
        except TimeoutError:
            return timed_out(attempt)

    def _invoke(self, attempt: Attempt) -> Outcome:
        try:
            result = attempt.node.function(*attempt.args, **attempt.kwargs)
        except BaseException as error:  # also SystemExit: a task must not end the service
            return failed(attempt, error)
        return succeeded(attempt, result, self._max_result_bytes)
