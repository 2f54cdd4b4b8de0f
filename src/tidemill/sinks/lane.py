"""One subscription's lane: which delivery is tried when, how many at once. It waits for its receiver only.

Rule 1. Ordered: one at a time in log order; a delivery that fails holds back every later one until it is
        delivered or dead-lettered. Unordered: up to `concurrency` at once; one that waits for its next
        attempt holds nothing.
Rule 2. Memory is bounded by the backlog's window (`backlog`, rule 1) and one event per attempt under way,
        whatever the outbox holds. A delivery leaves the lane only when what came of it is on disk.
Rule 3. Attempts are due by the time that passes (`steady`): one that waits in memory comes neither early nor late
        when the wall clock is set.
Rule 4. A closed gate (paused by somebody, or the receiver is gone) starts nothing; what is pending stays
        pending until it opens.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from tidemill.clock import Clock
from tidemill.errors import StorageError
from tidemill.sinks.attempt import STORE_RETRY_SECONDS, Attempts
from tidemill.sinks.backlog import Backlog
from tidemill.sinks.steady import SteadyTime
from tidemill.storage.contract import Delivery, Outbox

__all__ = ["LOOK_AGAIN_SECONDS", "Lane", "LaneStatus"]

#: Seconds after which an idle lane looks into the outbox without being told (a commit whose answer was lost).
LOOK_AGAIN_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneStatus:
    """What the API shows of a subscription's deliveries; counters since the process started."""

    subscription: str
    #: Deliveries known to wait or to be under way.
    pending: int = 0
    #: Whether `pending` is all there is; the outbox may hold more when not.
    pending_complete: bool = True
    delivered: int = 0
    #: Attempts that failed and are tried again.
    failed: int = 0
    dead_lettered: int = 0
    #: Why the last failed attempt failed; empty before the first.
    last_error: str = ""
    #: Nothing is delivered any more until somebody enables it.
    disabled: bool = False
    #: "starting", "active", "paused" or "disabled".
    state: str = "active"


class Lane:
    """The deliveries of one subscription."""

    def __init__(
        self,
        subscription: str,
        attempts: Attempts,
        *,
        outbox: Outbox,
        clock: Clock,
        ordered: bool,
        concurrency: int,
        drain_seconds: float,
        look_again_seconds: float = LOOK_AGAIN_SECONDS,
    ) -> None:
        self._look_again_seconds = look_again_seconds
        self._subscription = subscription
        self._attempts = attempts
        self._outbox = outbox
        self._clock = clock
        self._slots = 1 if ordered else concurrency
        self._drain_seconds = drain_seconds
        self._backlog = Backlog(ordered=ordered)
        self._time = SteadyTime(clock)
        self._in_hand = 0
        #: Something may be possible that was not: a slot, a due time, a page.
        self._wake = asyncio.Event()
        #: The window has come to the end of the outbox.
        self._caught_up = asyncio.Event()
        self._gate = attempts.gate
        self._gate.listen(self._wake.set, self._rewind)

    def status(self) -> LaneStatus:
        """How it is doing now."""
        tally = self._attempts.tally
        return LaneStatus(
            subscription=self._subscription,
            pending=len(self._backlog),
            pending_complete=self._backlog.complete,
            delivered=tally.delivered,
            failed=tally.failed,
            dead_lettered=tally.dead_lettered,
            last_error=tally.last_error,
            disabled=self._gate.state == "disabled",
            state=self._gate.state,
        )

    async def run(self) -> None:
        """Deliver until cancelled; then attempts under way have `drain_seconds` to end and to be marked."""
        await self._attempts.begin()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch())
            try:
                while True:
                    await self._advance(tasks)
            except asyncio.CancelledError:
                await self._drain()
                raise

    async def _advance(self, tasks: asyncio.TaskGroup) -> None:
        """Start one attempt, or read one page, or wait until either is possible."""
        self._wake.clear()
        if not self._gate.is_open or self._in_hand >= self._slots:
            await self._wake.wait()
        elif (delivery := self._backlog.take(self._time.now_us())) is not None:
            self._in_hand += 1
            tasks.create_task(self._attempt(delivery))
        elif self._backlog.wants_page:
            await self._read_page()
        else:
            await self._wait_until(self._backlog.next_at())

    async def _attempt(self, delivery: Delivery) -> None:
        pending: Delivery | None = delivery
        try:
            pending = await self._attempts.settle(delivery)
        finally:
            self._in_hand -= 1
            if pending is None:
                self._backlog.drop(delivery.position)
            elif pending is delivery:  # not tried: the store could not say what is to be sent
                self._backlog.put_back(delivery)
            else:
                self._backlog.put_back(*self._time.taken_over([pending]))
            self._wake.set()

    async def _read_page(self) -> None:
        after, limit = self._backlog.begin_page()
        try:
            page = await self._outbox.due(self._subscription, after=after, limit=limit)
        except StorageError as error:
            await self._store_failed(error)
            return
        self._backlog.admit(self._time.taken_over(page), now=self._time.now_us())
        if not self._backlog.behind:
            self._caught_up.set()

    async def _wait_until(self, due_at: int | None) -> None:
        wakeup = self._clock.call_later(self._look_again_seconds, self._look_again)
        if due_at is not None:
            seconds = (due_at - self._time.now_us()) / 1_000_000
            if seconds < self._look_again_seconds:
                wakeup.cancel()
                wakeup = self._clock.call_later(seconds, self._wake.set)
        try:
            await self._wake.wait()
        finally:
            wakeup.cancel()

    def _rewind(self) -> None:
        self._backlog.rewind()
        self._wake.set()

    def _look_again(self) -> None:
        self._backlog.behind = True
        self._wake.set()

    async def _watch(self) -> None:
        """Tell the lane of deliveries committed after the newest that it has seen."""
        while True:
            await self._caught_up.wait()
            newest = self._backlog.newest
            try:
                await self._outbox.wait_for_delivery(self._subscription, newest)
            except StorageError as error:
                await self._store_failed(error)
                continue
            self._caught_up.clear()
            self._look_again()
            await self._caught_up.wait()
            if self._backlog.newest == newest:
                # Committed and settled before this lane came up: the outbox cannot tell that from a new one.
                await self._clock.sleep(STORE_RETRY_SECONDS)

    async def _drain(self) -> None:
        over = asyncio.Event()

        def stop_waiting() -> None:
            over.set()
            self._wake.set()

        wakeup = self._clock.call_later(self._drain_seconds, stop_waiting)
        try:
            while self._in_hand and not over.is_set():
                self._wake.clear()
                await self._wake.wait()
        finally:
            wakeup.cancel()

    async def _store_failed(self, error: StorageError) -> None:
        self._attempts.tally.last_error = str(error)
        await self._clock.sleep(STORE_RETRY_SECONDS)
