"""Subscriptions made by API, and whether each subscription delivers."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from tidemill.events.event import Event
from tidemill.storage.contract.deliveries import DeliveryAttempt

__all__ = ["DeliveryBacklog", "MadeSubscription", "SubscriptionState", "SubscriptionStatus", "Subscriptions"]


class SubscriptionState(StrEnum):
    """Whether a subscription delivers."""

    ACTIVE = "active"
    #: Somebody paused it: what it would get stays pending.
    PAUSED = "paused"
    #: Its receiver said that it is gone: what it would get stays pending.
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True)
class SubscriptionStatus:
    """The kept state of a subscription, whoever made it."""

    subscription: str
    state: SubscriptionState
    reason: str
    by: str
    at: int
    #: How often earlier deliveries became pending again.
    redriven: int = 0


@dataclass(frozen=True, slots=True)
class MadeSubscription:
    """A subscription made by API."""

    id: str
    #: It matches events after this position, as it was last changed.
    position: int
    #: JSON text of the definition, with the secrets that sign.
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class DeliveryBacklog:
    """How far a subscription is."""

    #: Deliveries that are pending, counted up to the limit that was asked for.
    pending: int
    oldest_pending: int | None
    #: Position of the newest event that the receiver has accepted, as far as attempts are kept.
    newest_delivered: int | None


class Subscriptions(Protocol):
    """Subscriptions made by API, and whether each subscription delivers."""

    @property
    def version(self) -> int:
        """Rises whenever something here has been changed by anybody, as far as this process has heard."""

    async def wait_for_change(self, seen: int) -> None:
        """Return when `version` > `seen`."""

    async def put(self, subscription: str, body: bytes | None, event: Event) -> int:
        """Make, change or (no body) delete a subscription; the position from which it counts.

        Durable on return, in one transaction with `event`, which tells of it in the log.
        """

    async def at(self, position: int) -> list[MadeSubscription]:
        """The subscriptions as they are for events after `position`."""

    async def get(self, subscription: str) -> MadeSubscription | None:
        """A subscription as it is now."""

    async def states(self) -> dict[str, SubscriptionStatus]:
        """Kept states by subscription; one without is active."""

    async def set_state(self, subscription: str, state: SubscriptionState, *, reason: str, by: str) -> None:
        """Say whether a subscription delivers; durable on return."""

    async def backlog(self, subscription: str, *, limit: int) -> DeliveryBacklog:
        """How far a subscription is."""

    async def attempts(self, subscription: str, *, before: int | None, limit: int) -> list[DeliveryAttempt]:
        """The latest attempts, newest first, with number < `before`."""

    async def newest_attempt(self, subscription: str) -> int:
        """The number of the latest attempt; 0 when there was none."""
