"""Events on their way to subscriptions, on SQLite."""

from __future__ import annotations

from collections.abc import Sequence

from tidemill.storage.arrivals import Arrivals
from tidemill.storage.commit import MarkJob
from tidemill.storage.contract import DeadLetter, Delivery, DeliveryMark, DeliveryState
from tidemill.storage.sqlite.connection import Session
from tidemill.storage.sqlite.queries import QUERIES
from tidemill.storage.sqlite.writer import Writer

__all__ = ["SqliteOutbox"]


class SqliteOutbox:
    """See `Outbox`."""

    def __init__(self, *, writer: Writer, reader: Session) -> None:
        self._writer = writer
        self._reader = reader
        self.arrivals = Arrivals()

    async def due(self, subscription: str, *, after: int, limit: int) -> list[Delivery]:
        rows = await self._reader.execute_fetchall(QUERIES["due_deliveries"], (subscription, after, limit))
        return [
            Delivery(subscription=name, position=position, attempts=attempts, due_at=due_at)
            for name, position, attempts, due_at in rows
        ]

    async def mark(self, marks: Sequence[DeliveryMark], dead_letters: Sequence[DeadLetter] = ()) -> None:
        await self._writer.submit(MarkJob(tuple(marks), tuple(dead_letters)))

    async def wait_for_delivery(self, subscription: str, after: int) -> None:
        await self.arrivals.wait(subscription, after)

    async def list(self, position: int) -> list[tuple[str, DeliveryState, int, str]]:
        rows = await self._reader.execute_fetchall(QUERIES["deliveries_of"], (position,))
        return [(name, DeliveryState(state), attempts, detail) for name, state, attempts, detail in rows]
