"""May we deliver to this receiver? Asked by OPTIONS before the first delivery (HTTP webhooks 1.0.2, section 4).

1. Only the headers of section 4.2 are consent, never a status. Without it nothing is delivered: the delivery is
   refused, and tried as often as refused ones are.
2. Consent holds for `AGREED_SECONDS`; deliveries that need it meanwhile wait for the one question under way.
3. A rate that the receiver allows is kept to: deliveries take turns in its time.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tidemill.clock import Clock
from tidemill.errors import SinkRefused, SinkUnavailable

if TYPE_CHECKING:
    from tidemill.sinks.outgoing import Outgoing

__all__ = ["AGREED_SECONDS", "REQUEST_RATE", "Handshake"]

#: How long consent is taken for granted, in seconds.
AGREED_SECONDS = 3600.0
#: Deliveries per minute that we ask for.
REQUEST_RATE = 6000


class Handshake:
    """The agreement with one receiver."""

    def __init__(self, url: str, *, origin: str, clock: Clock) -> None:
        """`origin` is the DNS name under which we ask, and which goes with every delivery."""
        self.origin = origin
        self._url = url
        self._clock = clock
        self._agreed_until = 0
        self._asking = asyncio.Lock()
        #: Microseconds between two deliveries; 0 without a limit.
        self._interval = 0
        self._next_at = 0

    async def agree(self, client: Outgoing, *, within: float) -> None:
        """Return when a delivery may be sent now.

        Raises `SinkRefused` where the receiver does not consent, `SinkUnavailable` where it cannot be asked.
        """
        async with self._asking:
            if self._clock.now_us() >= self._agreed_until:
                await self._ask(client, within=within)
        await self._take_turn()

    async def _ask(self, client: Outgoing, *, within: float) -> None:
        headers = {"webhook-request-origin": self.origin, "webhook-request-rate": str(REQUEST_RATE)}
        reply = await client.options(self._url, headers=headers, within=within)
        if reply.allowed_origin not in (self.origin, "*"):
            if reply.status == 429 or reply.status >= 500:
                raise SinkUnavailable(f"asked for consent, the receiver answered {reply.status}")
            raise SinkRefused("the receiver does not consent to deliveries (OPTIONS)", status=reply.status)
        rate = reply.allowed_rate
        limited = rate is not None and len(rate) <= 9 and rate.isascii() and rate.isdigit() and int(rate) > 0
        self._interval = 60_000_000 // int(rate or 1) if limited else 0
        self._agreed_until = self._clock.now_us() + round(AGREED_SECONDS * 1_000_000)

    async def _take_turn(self) -> None:
        if not self._interval:
            return
        now = self._clock.now_us()
        turn = max(now, self._next_at)
        self._next_at = turn + self._interval
        if turn > now:
            await self._clock.sleep((turn - now) / 1_000_000)
