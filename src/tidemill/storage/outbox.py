"""Events on their way to subscriptions, on whatever database is behind `Reading` and `Writing`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tidemill.clock import Clock
from tidemill.storage.arrivals import Arrivals
from tidemill.storage.commit import MarkJob, Statements
from tidemill.storage.contract import (
    DeadLetter,
    Delivery,
    DeliveryAttempt,
    DeliveryMark,
    DeliveryState,
    SubscriptionState,
)
from tidemill.storage.reading import Reading
from tidemill.storage.writing import Writing

__all__ = ["ATTEMPTS_KEPT", "StoredOutbox"]

#: Attempts that are kept of each subscription; more than one commit marks, so that no slot is written twice in one.
ATTEMPTS_KEPT = 1_000


class StoredOutbox:
    """See `Outbox`."""

    def __init__(self, *, writer: Writing, reading: Reading, clock: Clock) -> None:
        self._writer = writer
        self._reading = reading
        self._clock = clock
        self.arrivals = Arrivals()

    async def due(self, subscription: str, *, after: int, limit: int) -> list[Delivery]:
        rows = await self._reading.rows("due_deliveries", subscription, after, limit)
        return [
            Delivery(subscription=name, position=position, attempts=attempts, due_at=due_at, letter=letter)
            for name, position, attempts, due_at, letter in rows
        ]

    async def mark(
        self,
        marks: Sequence[DeliveryMark],
        dead_letters: Sequence[DeadLetter] = (),
        *,
        attempts: Sequence[DeliveryAttempt] = (),
        disabled: Mapping[str, str] | None = None,
    ) -> None:
        also: list[tuple[str, list[tuple[object, ...]]]] = []
        if attempts:
            also.append(("put_attempt", [_attempt_row(one) for one in attempts]))
        if disabled:
            at, state = self._clock.now_us(), SubscriptionState.DISABLED.value
            rows: list[tuple[object, ...]] = [
                (name, state, reason, "receiver", at) for name, reason in disabled.items()
            ]
            also.append(("set_subscription_state", rows))
        statements: Statements = also
        await self._writer.submit(MarkJob(tuple(marks), tuple(dead_letters), statements))

    async def wait_for_delivery(self, subscription: str, after: int) -> None:
        await self.arrivals.wait(subscription, after)

    async def list(self, position: int) -> list[tuple[str, DeliveryState, int, str]]:
        rows = await self._reading.rows("deliveries_of", position)
        return [(name, DeliveryState(state), attempts, detail) for name, state, attempts, detail in rows]


def _attempt_row(one: DeliveryAttempt) -> tuple[object, ...]:
    return (
        one.subscription,
        one.number % ATTEMPTS_KEPT,
        one.number,
        one.position,
        one.attempt,
        one.at,
        one.duration_us,
        one.outcome,
        one.status,
        one.error,
    )
