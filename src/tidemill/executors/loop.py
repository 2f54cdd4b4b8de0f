"""Runs coroutine functions in the event loop, each attempt in an asyncio task that it has for itself.

Making an asyncio task costs more than a short attempt does, so tasks are used again: one that is free takes the next
attempt that waits, and before it awaits anything another one has been called for those behind it. A task that an
attempt left its mark on (a cancellation, a callback, a context variable) is not used again, so that no attempt can
tell.

An attempt counts as cancelled only when the engine asked for it: a task that raises `CancelledError`, or cancels
itself, has failed like any other.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Callable
from typing import Any

from tidemill.clock import Clock, SystemClock
from tidemill.executors.result import cancelled, failed, succeeded
from tidemill.executors.time_limits import TimeLimits
from tidemill.runs.attempts import Attempt, Outcome

__all__ = ["LoopExecutor"]

#: Longest time that attempts which ignore their cancellation hold up `close`, in seconds.
_CLOSE_SECONDS = 5.0
#: Free asyncio tasks kept for the attempts to come.
_KEPT = 256

_Key = tuple[str, int]


class LoopExecutor:
    """See `Executor`. A task that blocks the loop blocks the service: such functions belong in a thread."""

    def __init__(self, *, max_result_bytes: int, clock: Clock | None = None) -> None:
        self._max_result_bytes = max_result_bytes
        self._clock = clock or SystemClock()
        #: Attempts that no asyncio task has taken yet.
        self._waiting: deque[tuple[Attempt, Callable[[Outcome], None]]] = deque()
        self._running: dict[_Key, asyncio.Task[None]] = {}
        #: Attempts that were asked to stop.
        self._asked: set[_Key] = set()
        #: What free asyncio tasks wait for.
        self._free: list[asyncio.Future[None]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        #: True while an asyncio task that was called has not come yet.
        self._called = False
        self._closed = False
        self._loop = asyncio.get_running_loop()

    def start(self, attempt: Attempt, report: Callable[[Outcome], None]) -> None:
        if self._closed:
            return
        self._waiting.append((attempt, report))
        if not self._called:
            self._call()

    def cancel(self, run_id: str, index: int) -> None:
        key = (run_id, index)
        task = self._running.get(key)
        if task is not None:
            self._asked.add(key)
            task.cancel()
        elif any((one.run_id, one.index) == key for one, _ in self._waiting):
            self._asked.add(key)

    async def close(self) -> None:
        self._closed = True
        self._waiting.clear()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_CLOSE_SECONDS)

    # ── asyncio tasks and what they do ──

    def _call(self) -> None:
        """Have an asyncio task come for what waits."""
        self._called = True
        if self._free:
            self._free.pop().set_result(None)
            return
        task = self._loop.create_task(self._work())
        self._tasks.add(task)

    async def _work(self) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - for the type checker
        try:
            await self._make_what_waits(task)
        finally:
            self._tasks.discard(task)

    async def _make_what_waits(self, task: asyncio.Task[None]) -> None:
        context = contextvars.copy_context()
        while not self._closed:
            self._called = False
            while self._waiting:
                attempt, report = self._waiting.popleft()
                if self._waiting and not self._called:
                    self._call()
                outcome = await self._make(attempt, task)
                if self._closed:
                    return
                report(outcome)
                if _is_marked(task, context):
                    if self._waiting and not self._called:
                        self._call()
                    return
            if len(self._free) >= _KEPT:
                return
            free = self._loop.create_future()
            self._free.append(free)
            await free

    async def _make(self, attempt: Attempt, task: asyncio.Task[None]) -> Outcome:
        key = (attempt.run_id, attempt.index)
        if key in self._asked:
            self._asked.discard(key)
            return cancelled(attempt)
        self._running[key] = task
        try:
            node = attempt.node
            if node.timeout is None and node.policy.heartbeat is None:
                result = await node.function(*attempt.args, **attempt.kwargs)
            else:
                result = await self._make_in_time(attempt)
        except _OutOfTime as out:
            return out.outcome
        except asyncio.CancelledError as error:
            return cancelled(attempt) if key in self._asked or self._closed else failed(attempt, error)
        except BaseException as error:  # also SystemExit: a task must not end the service
            return failed(attempt, error)
        finally:
            if self._running.get(key) is task:  # a run that came back begins its attempts again
                del self._running[key]
            self._asked.discard(key)
        return succeeded(attempt, result, self._max_result_bytes)

    async def _make_in_time(self, attempt: Attempt) -> Any:
        try:
            async with asyncio.timeout(None) as deadline:
                # The clock decides when, so that limits of time hold under virtual time too.
                limits = TimeLimits(attempt, self._clock, lambda: deadline.reschedule(self._loop.time()))
                try:
                    return await attempt.node.function(*attempt.args, **limits.arguments())
                finally:
                    limits.cancel()
        except TimeoutError:
            if deadline.expired() and limits.broken is not None:
                raise _OutOfTime(limits.broken) from None
            raise  # the function's own


def _is_marked(task: asyncio.Task[None], context: contextvars.Context) -> bool:
    """True when an attempt has left something behind that the next one could see."""
    return (
        task.cancelling() > 0
        or task._callbacks is not None  # noqa: SLF001 - only asyncio can tell
        or contextvars.copy_context() != context
    )


class _OutOfTime(Exception):  # noqa: N818 - a signal between two methods
    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
