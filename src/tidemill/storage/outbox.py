"""Events on their way to subscriptions, on whatever database is behind `Reading` and `Writing`."""

from __future__ import annotations

from collections.abc import Sequence

from tidemill.storage.arrivals import Arrivals
from tidemill.storage.commit import MarkJob
from tidemill.storage.contract import DeadLetter, Delivery, DeliveryMark, DeliveryState
from tidemill.storage.reading import Reading
from tidemill.storage.writing import Writing

__all__ = ["StoredOutbox"]


class StoredOutbox:
    """See `Outbox`."""

    def __init__(self, *, writer: Writing, reading: Reading) -> None:
        self._writer = writer
        self._reading = reading
        self.arrivals = Arrivals()

    async def due(self, subscription: str, *, after: int, limit: int) -> list[Delivery]:
        rows = await self._reading.rows("due_deliveries", subscription, after, limit)
        return [
            Delivery(subscription=name, position=position, attempts=attempts, due_at=due_at)
            for name, position, attempts, due_at in rows
        ]

    async def mark(self, marks: Sequence[DeliveryMark], dead_letters: Sequence[DeadLetter] = ()) -> None:
        await self._writer.submit(MarkJob(tuple(marks), tuple(dead_letters)))

    async def wait_for_delivery(self, subscription: str, after: int) -> None:
        await self.arrivals.wait(subscription, after)

    async def list(self, position: int) -> list[tuple[str, DeliveryState, int, str]]:
        rows = await self._reading.rows("deliveries_of", position)
        return [(name, DeliveryState(state), attempts, detail) for name, state, attempts, detail in rows]
