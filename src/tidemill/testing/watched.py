"""An executor that knows which attempts are under way, stands stubs in, and hands outcomes on in a fixed order.

Threads end when the machine lets them: their outcomes are held, and handed on in the order in which the attempts began,
once everything else rests. So the same story has the same history, whichever thread was faster.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from tidemill.runs.attempts import Attempt, Executor, Outcome
from tidemill.testing.stubs import Stubs

__all__ = ["WatchedExecutor"]

#: Real time after which outcomes are handed on although nobody lets the stages work, in seconds.
_UNLED_SECONDS = 0.05


@dataclass(slots=True, eq=False)
class _Open:
    """An attempt that was not reported yet."""

    report: Callable[[Outcome], None]
    outcome: Outcome | None = None
    #: It was given real time to end, and has not: nobody waits for it any more.
    outlasted: bool = False


class WatchedExecutor:
    """See `Executor`."""

    def __init__(
        self,
        inner: Executor,
        *,
        stubs: Stubs,
        begins: Callable[[Attempt], bool],
        holds: bool,
        moved: asyncio.Event,
        is_led: Callable[[], bool],
    ) -> None:
        """`begins(attempt)` is asked before an attempt begins, which it does not when that says no.

        `holds`: outcomes wait for `deliver`; where `is_led` says that nobody is about to call it, some moments only.
        `moved` is set whenever an attempt has ended.
        """
        self._inner = inner
        self._stubs = stubs
        self._begins = begins
        self._holds = holds
        self._moved = moved
        self._is_led = is_led
        self._open: list[_Open] = []
        self._loop = asyncio.get_running_loop()

    def start(self, attempt: Attempt, report: Callable[[Outcome], None]) -> None:
        if not self._begins(attempt):
            return
        one = _Open(report)
        self._open.append(one)

        def ended(outcome: Outcome) -> None:
            self._moved.set()
            if not self._holds:
                self._open.remove(one)
                report(outcome)
                return
            one.outcome = outcome
            self._loop.call_later(_UNLED_SECONDS, self._deliver_unled)

        self._inner.start(self._stubs.stand_in(attempt), ended)

    def cancel(self, run_id: str, index: int) -> None:
        self._inner.cancel(run_id, index)

    async def close(self) -> None:
        await self._inner.close()
        self._open.clear()

    @property
    def under_way(self) -> int:
        """Attempts that have not ended."""
        return sum(one.outcome is None for one in self._open)

    @property
    def worth_waiting(self) -> int:
        """Those of them that were not given real time to end yet."""
        return sum(one.outcome is None and not one.outlasted for one in self._open)

    def deliver(self) -> bool:
        """Hand on the outcomes that are held; False when there are none."""
        ended = [one for one in self._open if one.outcome is not None]
        for one in ended:
            self._open.remove(one)
            assert one.outcome is not None  # noqa: S101 - for the type checker
            one.report(one.outcome)
        return bool(ended)

    def _deliver_unled(self) -> None:
        if not self._is_led():
            self.deliver()
        elif self._open:
            self._loop.call_later(_UNLED_SECONDS, self._deliver_unled)

    def outlast(self) -> None:
        """Attempts under way were given real time, and have not ended."""
        for one in self._open:
            one.outlasted = one.outcome is None
