"""Stands in for a cluster in tests: coroutines run in the loop, plain functions in threads."""

from __future__ import annotations

from collections.abc import Callable

from tidemill.runs.attempts import Attempt, Executor, Outcome

__all__ = ["ByKind"]


class ByKind:
    """See `Executor`; the executors behind it are somebody else's to close."""

    def __init__(self, *, loop: Executor, thread: Executor) -> None:
        self._loop = loop
        self._thread = thread

    def start(self, attempt: Attempt, report: Callable[[Outcome], None]) -> None:
        (self._loop if attempt.node.is_coroutine else self._thread).start(attempt, report)

    def cancel(self, run_id: str, index: int) -> None:
        for executor in (self._loop, self._thread):
            executor.cancel(run_id, index)

    async def close(self) -> None:
        pass
