"""Subscriptions made by API and the state of all, on whatever database is behind `Reading` and `Writing`.

1. A change is a row at the position of the event that tells of it, written in one transaction with it: what a
   subscription was for any event of the log can be read back.
2. Whoever follows (the router, the lanes) is woken by `changed` in this process, by a notification elsewhere, and by a
   look at two numbers where that was lost.
"""

from __future__ import annotations

import asyncio

from tidemill.clock import Clock
from tidemill.events.event import Event
from tidemill.storage.commit import AppendJob, StatementJob, event_row
from tidemill.storage.contract import (
    Append,
    Appended,
    DeliveryAttempt,
    DeliveryBacklog,
    MadeSubscription,
    SubscriptionState,
    SubscriptionStatus,
)
from tidemill.storage.reading import Reading
from tidemill.storage.writing import Writing

__all__ = ["StoredSubscriptions"]

#: Beyond every number of an attempt.
_LAST = 1 << 62


class StoredSubscriptions:
    """See `Subscriptions`."""

    def __init__(self, *, writer: Writing, reading: Reading, clock: Clock) -> None:
        self._writer = writer
        self._reading = reading
        self._clock = clock
        self._version = 0
        self._looked: tuple[int, int] | None = None
        self._waiters: list[asyncio.Future[None]] = []

    @property
    def version(self) -> int:
        """Rises with every change that this process has heard of."""
        return self._version

    async def wait_for_change(self, seen: int) -> None:
        while self._version <= seen:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter

    def changed(self) -> None:
        """Something was committed here or elsewhere: wake those who follow (called by the store alone)."""
        self._version += 1
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def look(self) -> None:
        """Find out whether something was changed elsewhere, in case nobody was told."""
        ((positions, versions),) = await self._reading.rows("subscription_versions")
        found = (int(positions), int(versions))
        if self._looked is not None and found != self._looked:
            self.changed()
        self._looked = found

    async def put(self, subscription: str, body: bytes | None, event: Event) -> int:
        at = self._clock.now_us()
        also: list[tuple[str, list[tuple[object, ...]]]] = [("prune_subscriptions", [(1,)])]
        if body is None:
            also += [(query, [(subscription,)]) for query in ("forget_subscription_state", "forget_attempts")]
        rows = [event_row(event, at)]
        job = AppendJob(Append(events=[event]), rows, at, also=also, subscription=(subscription, body))
        answers: list[Appended] = await self._writer.submit(job)
        return answers[0].position

    async def at(self, position: int) -> list[MadeSubscription]:
        rows = await self._reading.rows("subscriptions_at", position)
        return [MadeSubscription(*row) for row in rows]

    async def get(self, subscription: str) -> MadeSubscription | None:
        rows = await self._reading.rows("subscription", subscription)
        return next((MadeSubscription(*row) for row in rows if row[2] is not None), None)

    async def states(self) -> dict[str, SubscriptionStatus]:
        rows = await self._reading.rows("subscription_states")
        return {
            name: SubscriptionStatus(name, SubscriptionState(state), reason, by, at, redriven)
            for name, state, reason, by, at, redriven in rows
        }

    async def set_state(self, subscription: str, state: SubscriptionState, *, reason: str, by: str) -> None:
        row = (subscription, state.value, reason, by, self._clock.now_us())
        await self._writer.submit(StatementJob((("set_subscription_state", (row,)),)))

    async def backlog(self, subscription: str, *, limit: int) -> DeliveryBacklog:
        ((pending, oldest, newest),) = await self._reading.rows("backlog_of", subscription, limit)
        return DeliveryBacklog(pending, oldest, newest)

    async def attempts(self, subscription: str, *, before: int | None, limit: int) -> list[DeliveryAttempt]:
        rows = await self._reading.rows(
            "attempts_of", subscription, _LAST if before is None else before, limit
        )
        return [
            DeliveryAttempt(
                subscription=name,
                number=number,
                position=position,
                attempt=attempt,
                at=at,
                duration_us=duration_us,
                outcome=outcome,
                status=status,
                error=error,
            )
            for name, number, position, attempt, at, duration_us, outcome, status, error in rows
        ]

    async def newest_attempt(self, subscription: str) -> int:
        ((number,),) = await self._reading.rows("newest_attempt", subscription)
        return int(number)
