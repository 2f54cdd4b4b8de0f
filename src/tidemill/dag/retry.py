"""When a failed attempt is tried again: a value that decides, and performs nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

__all__ = ["Retry"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """Attempts and the delays between them."""

    #: The first attempt included.
    max_attempts: int = 1
    #: Before the second attempt.
    delay: timedelta = timedelta(seconds=1)
    #: Each further delay is the last one times this; 1 keeps it fixed.
    backoff: float = 2.0
    max_delay: timedelta = timedelta(minutes=10)
    #: Share of the delay that chance may take away or add, 0 to 1.
    jitter: float = 0.1

    def delay_after(self, attempt: int, chance: float) -> float | None:
        """Seconds to wait after failed `attempt` (from 1), None when there is no further attempt.

        `chance` in [0, 1) spreads retries by `jitter`: the core draws nothing. Never above `max_delay`.
        """
        if attempt >= self.max_attempts:
            return None
        ceiling = self.max_delay.total_seconds()
        try:
            seconds = self.delay.total_seconds() * self.backoff ** (attempt - 1)
        except OverflowError:
            seconds = ceiling
        seconds = min(seconds, ceiling)
        return min(ceiling, seconds * (1 + self.jitter * (2 * chance - 1)))
