"""Events on their way to subscriptions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from tidemill.storage.contract.letters import DeadLetter

__all__ = ["Delivery", "DeliveryAttempt", "DeliveryMark", "DeliveryState", "Outbox"]


class DeliveryState(StrEnum):
    """Where a delivery stands."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD_LETTERED = "dead_lettered"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One event on its way to one subscription."""

    subscription: str
    position: int
    #: Attempts made so far.
    attempts: int = 0
    #: Not to be tried before, microseconds since the epoch.
    due_at: int = 0
    #: The dead letter that is redriven: what it holds is sent, and not what the log holds.
    letter: str | None = None


@dataclass(frozen=True, slots=True)
class DeliveryMark:
    """What became of one delivery attempt."""

    subscription: str
    position: int
    state: DeliveryState
    attempts: int
    due_at: int = 0
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryAttempt:
    """One attempt at one delivery; the last `ATTEMPTS_KEPT` of each subscription are kept."""

    subscription: str
    #: Rises by one with every attempt of the subscription.
    number: int
    position: int
    #: Of this delivery, from 1.
    attempt: int
    at: int
    duration_us: int
    #: "delivered", "failed" or "dead_lettered".
    outcome: str
    #: The receiver's HTTP status; None when there was none.
    status: int | None = None
    error: str = ""


class Outbox(Protocol):
    """Events on their way to subscriptions."""

    async def due(self, subscription: str, *, after: int, limit: int) -> list[Delivery]:
        """Pending deliveries of a subscription by position, with position > `after` (due or not)."""

    async def mark(
        self,
        marks: Sequence[DeliveryMark],
        dead_letters: Sequence[DeadLetter] = (),
        *,
        attempts: Sequence[DeliveryAttempt] = (),
        disabled: Mapping[str, str] | None = None,
    ) -> None:
        """Record outcomes of attempts, with dead letters for those given up, in one transaction.

        `disabled` are subscriptions whose receivers are gone, each with the reason: they deliver nothing any more.
        """

    async def wait_for_delivery(self, subscription: str, after: int) -> None:
        """Return when a delivery of this subscription with position > `after` has been committed."""

    async def list(self, position: int) -> list[tuple[str, DeliveryState, int, str]]:
        """(subscription, state, attempts, detail) of every delivery of the event at `position`."""
