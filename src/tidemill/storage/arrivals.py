"""Committed deliveries, as far as those who wait for them need to know: the newest position per subscription."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable

from tidemill.storage.contract import Delivery

__all__ = ["Arrivals"]


class Arrivals:
    """Wakes the lanes of the sinks."""

    def __init__(self) -> None:
        self._newest: dict[str, int] = defaultdict(int)
        self._waiters: dict[str, list[asyncio.Future[None]]] = defaultdict(list)

    def committed(self, deliveries: Iterable[Delivery]) -> None:
        """Deliveries were committed: wake those who wait for them."""
        for delivery in deliveries:
            self.reached(delivery.subscription, delivery.position)

    def reached(self, subscription: str, position: int) -> None:
        """There is a delivery of `subscription` at `position`."""
        self._newest[subscription] = max(self._newest[subscription], position)
        for waiter in self._waiters.pop(subscription, ()):
            if not waiter.done():
                waiter.set_result(None)

    @property
    def awaited(self) -> list[str]:
        """Subscriptions whose deliveries somebody waits for."""
        return list(self._waiters)

    async def wait(self, subscription: str, after: int) -> None:
        """Return when a delivery with position > `after` has been committed."""
        while self._newest[subscription] <= after:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters[subscription].append(waiter)
            await waiter
