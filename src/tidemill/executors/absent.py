"""Stands in for an engine that no present DAG names: runs of older versions may still name it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tidemill.executors.remote.outcomes import failure
from tidemill.runs.attempts import Attempt, Outcome

__all__ = ["AbsentExecutor"]


class AbsentExecutor:
    """See `Executor`: every attempt fails for good and says why."""

    def __init__(self, reason: str) -> None:
        self._reason = reason
        self._closed = False
        self._loop = asyncio.get_running_loop()

    def start(self, attempt: Attempt, report: Callable[[Outcome], None]) -> None:
        outcome = failure(attempt, "ExecutorMissing", self._reason, permanent=True)
        self._loop.call_soon(self._report, report, outcome)

    def cancel(self, run_id: str, index: int) -> None:
        pass  # it has ended already

    async def close(self) -> None:
        self._closed = True

    def _report(self, report: Callable[[Outcome], None], outcome: Outcome) -> None:
        if not self._closed:
            report(outcome)
