"""Runs coroutine functions in the event loop, each attempt in an asyncio task and a context of its own.

An attempt counts as cancelled only when the engine asked for it: a task that raises `CancelledError`, or cancels
itself, has failed like any other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from tidemill.clock import Clock, SystemClock
from tidemill.executors.result import cancelled, failed, succeeded, timed_out
from tidemill.runs.attempts import Attempt, Outcome

__all__ = ["LoopExecutor"]

#: Longest time that attempts which ignore their cancellation hold up `close`, in seconds.
_CLOSE_SECONDS = 5.0


class LoopExecutor:
    """See `Executor`. A task that blocks the loop blocks the service: such functions belong in a thread."""

    def __init__(self, *, max_result_bytes: int, clock: Clock | None = None) -> None:
        self._max_result_bytes = max_result_bytes
        self._clock = clock or SystemClock()
        self._running: dict[tuple[str, int], asyncio.Task[Outcome]] = {}
        #: Attempts that were asked to stop.
        self._asked: set[tuple[str, int]] = set()
        self._closed = False
        self._loop = asyncio.get_running_loop()

    def start(self, attempt: Attempt, report: Callable[[Outcome], None]) -> None:
        if self._closed:
            return
        key = (attempt.run_id, attempt.node.index)
        task = self._loop.create_task(self._invoke(attempt, key))
        self._running[key] = task

        def ended(task: asyncio.Task[Outcome]) -> None:
            del self._running[key]
            self._asked.discard(key)
            if not self._closed:
                report(cancelled(attempt) if task.cancelled() else task.result())

        task.add_done_callback(ended)

    def cancel(self, run_id: str, index: int) -> None:
        task = self._running.get((run_id, index))
        if task is not None:
            self._asked.add((run_id, index))
            task.cancel()

    async def close(self) -> None:
        self._closed = True
        running = list(self._running.values())
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running, timeout=_CLOSE_SECONDS)

    async def _invoke(self, attempt: Attempt, key: tuple[str, int]) -> Outcome:
        node = attempt.node
        try:
            if node.timeout is None:
                result = await node.function(*attempt.args, **attempt.kwargs)
            else:
                result = await self._invoke_in_time(attempt, node.timeout.total_seconds())
        except _OutOfTime:
            return timed_out(attempt)
        except asyncio.CancelledError as error:
            return cancelled(attempt) if key in self._asked or self._closed else failed(attempt, error)
        except (
            BaseException
        ) as error:  # also SystemExit and KeyboardInterrupt: a task must not end the service
            return failed(attempt, error)
        return succeeded(attempt, result, self._max_result_bytes)

    async def _invoke_in_time(self, attempt: Attempt, seconds: float) -> Any:
        try:
            async with asyncio.timeout(None) as deadline:
                # The clock decides when, so that limits of time hold under virtual time too.
                timer = self._clock.call_later(seconds, lambda: deadline.reschedule(self._loop.time()))
                try:
                    return await attempt.node.function(*attempt.args, **attempt.kwargs)
                finally:
                    timer.cancel()
        except TimeoutError:
            if deadline.expired():
                raise _OutOfTime from None
            raise  # the function's own


class _OutOfTime(Exception):  # noqa: N818 - a signal between two methods
    pass
