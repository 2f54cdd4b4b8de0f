"""Stands in for threads: a plain function is called at once, in the loop; what came of it is told later."""

from __future__ import annotations

import random
from collections.abc import Callable

from tidemill.clock import Clock
from tidemill.executors.result import cancelled, failed, succeeded, timed_out
from tidemill.runs.attempts import Attempt, Outcome

__all__ = ["SimulatedThreads"]


class SimulatedThreads:
    """See `tidemill.runs.attempts.Executor`; as with threads, what is cancelled or timed out goes on unheard."""

    def __init__(self, draw: random.Random, *, max_result_bytes: int, clock: Clock) -> None:
        self._draw = draw
        self._max_result_bytes = max_result_bytes
        self._clock = clock
        self._running: dict[tuple[str, int], tuple[Attempt, Callable[[Outcome], None]]] = {}
        self._closed = False

    def start(self, attempt: Attempt, report: Callable[[Outcome], None]) -> None:
        if self._closed:
            return
        key = (attempt.run_id, attempt.index)
        outcome = self._call(attempt)
        seconds = self._draw.choice((0.0, 0.01, 0.5, 6.0))
        limit = attempt.node.timeout
        if limit is not None and limit.total_seconds() <= seconds:
            seconds, outcome = limit.total_seconds(), timed_out(attempt)
        self._running[key] = (attempt, report)
        self._clock.call_later(seconds, lambda: self._report(key, attempt, outcome))

    def cancel(self, run_id: str, index: int) -> None:
        running = self._running.get((run_id, index))
        if running is not None:
            self._report((run_id, index), running[0], cancelled(running[0]))

    async def close(self) -> None:
        self._closed = True

    def _call(self, attempt: Attempt) -> Outcome:
        try:
            result = attempt.node.function(*attempt.args, **attempt.kwargs)
        except BaseException as error:  # also SystemExit: as in threads
            return failed(attempt, error)
        return succeeded(attempt, result, self._max_result_bytes)

    def _report(self, key: tuple[str, int], attempt: Attempt, outcome: Outcome) -> None:
        running = self._running.get(key)
        if self._closed or running is None or running[0] is not attempt:
            return
        del self._running[key]
        running[1](outcome)
