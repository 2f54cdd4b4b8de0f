"""Whether one subscription may deliver now; what its lane and its attempts share of that. No I/O.

The truth is in the store (`SubscriptionStatus`). A gate that was not told of it yet is closed: a receiver that said it
is gone must not be asked again by a process that has just started.
"""

from __future__ import annotations

from collections.abc import Callable

from tidemill.storage.contract import SubscriptionState, SubscriptionStatus

__all__ = ["Gate"]


class Gate:
    """One subscription's gate."""

    def __init__(self, *, known: bool = True) -> None:
        """`known`: nobody will tell, and the subscription is active."""
        self._state: SubscriptionState | None = SubscriptionState.ACTIVE if known else None
        self.reason = ""
        self._redriven = 0
        self._changed: Callable[[], None] | None = None
        self._again: Callable[[], None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether deliveries may be tried."""
        return self._state is SubscriptionState.ACTIVE

    @property
    def state(self) -> str:
        """As people see it."""
        return "starting" if self._state is None else self._state.value

    def listen(self, changed: Callable[[], None], again: Callable[[], None]) -> None:
        """Call `changed` when the gate opens or closes, `again` when earlier deliveries are pending again."""
        self._changed, self._again = changed, again

    def tell(self, status: SubscriptionStatus | None) -> None:
        """What the store says; None: nothing, the subscription is active."""
        before, redriven = self._state, self._redriven
        self._state = SubscriptionState.ACTIVE if status is None else status.state
        self.reason = "" if status is None else status.reason
        self._redriven = 0 if status is None else status.redriven
        if before is not self._state and self._changed is not None:
            self._changed()
        if before is not None and redriven != self._redriven and self._again is not None:
            self._again()

    def disable(self, reason: str) -> None:
        """The receiver is gone; the store was told."""
        self._state, self.reason = SubscriptionState.DISABLED, reason
        if self._changed is not None:
            self._changed()
