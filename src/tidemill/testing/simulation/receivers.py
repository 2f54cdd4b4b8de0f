"""The world's side of a subscription: a receiver that accepts, refuses, hangs, and now and then answers nobody."""

from __future__ import annotations

from collections.abc import Callable

from tidemill.clock import Clock
from tidemill.errors import SinkRefused, SinkUnavailable
from tidemill.events.event import LoggedEvent
from tidemill.testing.simulation.chance import Chance
from tidemill.testing.simulation.faults import Faults
from tidemill.testing.simulation.observed import Receipt

__all__ = ["SimulatedSink"]

_TIMEOUT_SECONDS = 10.0


class SimulatedSink:
    """See `tidemill.sinks.contract.Sink`."""

    def __init__(
        self,
        subscription: str,
        process: int,
        *,
        chance: Chance,
        faults: Faults,
        clock: Clock,
        now_us: Callable[[], int],
        receipts: list[Receipt],
    ) -> None:
        self._name, self._process = subscription, process
        self._chance, self._faults = chance, faults
        self._clock, self._now_us = clock, now_us
        self._receipts = receipts

    async def deliver(self, logged: LoggedEvent, attempt: int) -> None:
        """One attempt."""
        faults = self._faults
        await self._clock.sleep(faults.delay_us() / 1_000_000)
        draw = self._chance.stream("receiver", self._name, logged.position, attempt, self._process)
        is_bad = not faults.is_over and draw.random() < faults.weather.bad_receivers
        fate = draw.choice(("unanswered", "failed", "failed", "hangs", "refused")) if is_bad else "accepted"
        at, place = self._now_us(), len(self._receipts)
        self._receipts.append(self._receipt(logged, attempt, at, fate, None))
        await self._clock.sleep(
            _TIMEOUT_SECONDS if fate in ("unanswered", "hangs") else faults.delay_us() / 1e6
        )
        self._receipts[place] = self._receipt(logged, attempt, at, fate, self._now_us())
        match fate:
            case "accepted":
                return
            case "refused":
                raise SinkRefused("the receiver answered 400", status=400)
            case "failed":
                retry_after = draw.choice((None, None, 30.0))
                raise SinkUnavailable("the receiver answered 503", status=503, retry_after=retry_after)
            case _:
                raise SinkUnavailable("the receiver did not answer")

    async def close(self) -> None:
        """Nothing to let go of."""

    def _receipt(
        self, logged: LoggedEvent, attempt: int, at: int, fate: str, answered: int | None
    ) -> Receipt:
        event = logged.event
        kind = "failed" if fate == "hangs" else fate
        return Receipt(self._name, event.source, event.id, attempt, at, self._process, kind, answered)
