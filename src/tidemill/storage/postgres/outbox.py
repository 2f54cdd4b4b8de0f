"""Events on their way to subscriptions, on PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence

from tidemill.storage.arrivals import Arrivals
from tidemill.storage.commit import MarkJob
from tidemill.storage.contract import DeadLetter, Delivery, DeliveryMark, DeliveryState
from tidemill.storage.postgres.queries import QUERIES
from tidemill.storage.postgres.reading import Reading
from tidemill.storage.postgres.writer import Writer

__all__ = ["PostgresOutbox"]


class PostgresOutbox:
    """See `Outbox`."""

    def __init__(self, *, writer: Writer, reading: Reading) -> None:
        self.arrivals = Arrivals()
        self._writer = writer
        self._reading = reading

    async def due(self, subscription: str, *, after: int, limit: int) -> list[Delivery]:
        rows = await self._reading.fetch(QUERIES["due_deliveries"], subscription, after, limit)
        return [
            Delivery(subscription=name, position=position, attempts=attempts, due_at=due_at)
            for name, position, attempts, due_at in rows
        ]

    async def mark(self, marks: Sequence[DeliveryMark], dead_letters: Sequence[DeadLetter] = ()) -> None:
        await self._writer.submit(MarkJob(tuple(marks), tuple(dead_letters)))

    async def wait_for_delivery(self, subscription: str, after: int) -> None:
        await self.arrivals.wait(subscription, after)

    async def list(self, position: int) -> list[tuple[str, DeliveryState, int, str]]:
        rows = await self._reading.fetch(QUERIES["deliveries_of"], position)
        return [(name, DeliveryState(state), attempts, detail) for name, state, attempts, detail in rows]
