"""What follows from a seed: ids, and chance for one purpose at a time.

Each purpose has a chance of its own, so that what one of them asks for changes nothing for the others.
"""

from __future__ import annotations

import random
import uuid

from tidemill.clock import Clock

__all__ = ["SeededIds", "chance_of"]


def chance_of(seed: int, purpose: str) -> random.Random:
    """The chance of one purpose, the same for the same seed in every process."""
    return random.Random(f"{seed}/{purpose}")  # noqa: S311 - a test's chance


class SeededIds:
    """Makes ids that sort by (virtual) time of making, like those of `ids.new_id` (UUID version 7)."""

    def __init__(self, clock: Clock, seed: int) -> None:
        self._clock = clock
        self._chance = chance_of(seed, "ids")
        self._last = (0, 0)

    def next(self) -> str:
        """The next id; two of one millisecond are in order too."""
        millisecond = self._clock.now_us() // 1000
        before, number = self._last
        number = number + 1 if millisecond == before else 0
        self._last = (millisecond, number)
        value = (millisecond & 0xFFFF_FFFF_FFFF) << 80 | 0x7 << 76 | (number & 0xFFF) << 64
        return str(uuid.UUID(int=value | 0x2 << 62 | self._chance.getrandbits(62)))
