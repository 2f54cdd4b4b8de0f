"""What every sink is: a way to hand one event to one receiver outside, at least once.

The dispatcher owns retries, order, marks and dead letters; a sink tries once and tells the truth about it.
"""

from __future__ import annotations

from typing import Protocol

from tidemill.events.event import LoggedEvent

__all__ = ["Sink"]


class Sink(Protocol):
    """One receiver, ready to be used by one subscription."""

    async def deliver(self, logged: LoggedEvent, attempt: int) -> None:
        """Return when the receiver has accepted the event (attempt counts from 1).

        Idempotent for the receiver by the event's (`source`, `id`), which is the same in every attempt.
        Raises `SinkUnavailable` (try again) or `SinkRefused` (do not).
        """

    async def close(self) -> None:
        """Let go of connections."""
