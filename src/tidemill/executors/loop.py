"""Runs coroutine functions in the event loop, each attempt in an asyncio task and a context of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tidemill.runs.attempts import Attempt, Outcome
from tidemill.executors.result import cancelled, failed, succeeded, timed_out

__all__ = ["LoopExecutor"]


class LoopExecutor:
    """See `Executor`. A task that blocks the loop blocks the service: such functions belong in a thread."""

    def __init__(self, *, max_result_bytes: int) -> None:
        self._max_result_bytes = max_result_bytes
        self._running: dict[tuple[str, int], asyncio.Task[Outcome]] = {}
        self._loop = asyncio.get_running_loop()

    def start(self, attempt: Attempt, report: Callable[[Outcome], None]) -> None:
        key = (attempt.run_id, attempt.node.index)
        task = self._loop.create_task(self._invoke(attempt))
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

    async def _invoke(self, attempt: Attempt) -> Outcome:
        node = attempt.node
        try:
            if node.timeout is None:
                result = await node.function(*attempt.args, **attempt.kwargs)
            else:
                async with asyncio.timeout(node.timeout.total_seconds()) as deadline:
                    result = await node.function(*attempt.args, **attempt.kwargs)
        except TimeoutError as error:
            return (
                timed_out(attempt)
                if node.timeout is not None and deadline.expired()
                else failed(attempt, error)
            )
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                return cancelled(attempt)
            return failed(attempt, error)  # the function raised it by itself
        except (
            BaseException
        ) as error:  # also SystemExit and KeyboardInterrupt: a task must not end the service
            return failed(attempt, error)
        return succeeded(attempt, result, self._max_result_bytes)
