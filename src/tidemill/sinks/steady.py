"""When deliveries are due within one process: by the time that passes, whatever the wall clock is set to.

The database holds due times by the wall clock, the only one that the next process has too. Within a process a due time
is taken over when it is learned, together with what the wall clock says then; from there on only passing time counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tidemill.clock import Clock
from tidemill.storage.contract import Delivery

__all__ = ["SteadyTime"]


class SteadyTime:
    """The wall clock as it would be if nobody had set it since this was made."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._begun = clock.now_us() - clock.steady_us()

    def now_us(self) -> int:
        """Microseconds since the epoch, never set."""
        return self._begun + self._clock.steady_us()

    def taken_over(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """These deliveries, those that wait due by this time instead of by the wall clock."""
        now = self._clock.now_us()
        shift = self.now_us() - now
        return [replace(one, due_at=one.due_at + shift) if one.due_at > now else one for one in deliveries]
