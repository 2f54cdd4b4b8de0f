"""Virtual time: a `Clock` that stands still until a test moves it.

Nothing here waits for real time. What was planned runs in the order in which it is due, never early; two
calls due at the same moment run in the order in which they were planned. Belongs to one event loop and one
thread.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable

from tidemill.clock import Wakeup

__all__ = ["ManualClock"]

#: 2024-01-01T00:00:00Z, where time begins unless told otherwise; microseconds since the epoch.
START_US = 1_704_067_200_000_000
#: Turns of the event loop that `run_for` gives to what has just woken.
_TURNS = 20


class ManualClock:
    """A `tidemill.clock.Clock` whose time moves only by `advance`, `run_for` and `jump`."""

    def __init__(self, start_us: int = START_US) -> None:
        self._wall_us = start_us
        self._elapsed_us = 0
        self._order = itertools.count()
        self._planned: list[tuple[int, int, _Planned]] = []
        self._watchers: list[tuple[int, asyncio.Future[None]]] = []

    @property
    def planned(self) -> int:
        """Number of calls and sleepers that wait for time to pass."""
        return sum(not entry.cancelled for _, _, entry in self._planned)

    @property
    def next_seconds(self) -> float | None:
        """Seconds until the next planned call is due; None when nothing is planned."""
        self._drop_cancelled()
        return (self._planned[0][0] - self._elapsed_us) / 1_000_000 if self._planned else None

    @property
    def elapsed_us(self) -> int:
        """Microseconds that have passed since it was made; `jump` changes nothing about that."""
        return self._elapsed_us

    @property
    def next_us(self) -> int | None:
        """What `elapsed_us` will be when the next planned call is due; None when nothing is planned."""
        return self._next_us()

    def now_us(self) -> int:
        return self._wall_us

    def steady_us(self) -> int:
        return self._elapsed_us

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Wakeup:
        if seconds <= 0:  # due already: made by the loop itself, as the machine's clock does
            return asyncio.get_running_loop().call_soon(callback)
        entry = _Planned(callback)
        heapq.heappush(self._planned, (self._elapsed_us + _microseconds(seconds), next(self._order), entry))
        self._tell_watchers()
        return entry

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        wakeup = self.call_later(seconds, lambda: None if woken.done() else woken.set_result(None))
        try:
            await woken
        finally:
            wakeup.cancel()

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass: run every call that becomes due, in order, each at its own time.

        Sleepers wake when the event loop next runs, and then find all of `seconds` passed; use `run_for`
        where what wakes plans again within that time. An error of a call is raised here, at its time.
        """
        self.advance_to(self._elapsed_us + _microseconds(seconds))

    def advance_to(self, elapsed_us: int) -> None:
        """`advance` to a moment, given as `elapsed_us`; does nothing when it is over."""
        while (due_us := self._next_us()) is not None and due_us <= elapsed_us:
            self._move_to(due_us)
            heapq.heappop(self._planned)[2].run()
        self._move_to(max(elapsed_us, self._elapsed_us))

    async def run_for(self, seconds: float) -> None:
        """Let `seconds` pass step by step, giving the event loop some turns after each step.

        What wakes may so sleep again within `seconds`. Work handed to threads or to a database does not
        finish within those turns: wait for its result, then go on.
        """
        end_us = self._elapsed_us + _microseconds(seconds)
        await _let_run()
        while (due_us := self._next_us()) is not None and due_us <= end_us:
            self.advance((due_us - self._elapsed_us) / 1_000_000)
            await _let_run()
        self.advance((end_us - self._elapsed_us) / 1_000_000)
        await _let_run()

    async def wait_for_planned(self, count: int = 1) -> None:
        """Return as soon as at least `count` calls and sleepers wait for time to pass."""
        if self.planned < count:
            reached: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._watchers.append((count, reached))
            await reached

    def jump(self, seconds: float) -> None:
        """Set the wall clock forward or back by `seconds`, as an operator would; nothing becomes due."""
        self._wall_us += _microseconds(seconds)

    def _next_us(self) -> int | None:
        self._drop_cancelled()
        return self._planned[0][0] if self._planned else None

    def _drop_cancelled(self) -> None:
        while self._planned and self._planned[0][2].cancelled:
            heapq.heappop(self._planned)

    def _move_to(self, elapsed_us: int) -> None:
        self._wall_us += elapsed_us - self._elapsed_us
        self._elapsed_us = elapsed_us

    def _tell_watchers(self) -> None:
        if not self._watchers:
            return
        planned = self.planned
        waiting = []
        for count, reached in self._watchers:
            if planned < count:
                waiting.append((count, reached))
            elif not reached.done():
                reached.set_result(None)
        self._watchers = waiting


class _Planned:
    """One call that waits for its time."""

    __slots__ = ("_callback", "cancelled")

    def __init__(self, callback: Callable[[], None]) -> None:
        self._callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True

    def run(self) -> None:
        self.cancelled = True
        self._callback()


async def _let_run() -> None:
    for _ in range(_TURNS):
        await asyncio.sleep(0)


def _microseconds(seconds: float) -> int:
    return round(seconds * 1_000_000)
