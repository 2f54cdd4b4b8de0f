"""Chance by name: whatever is drawn has a stream of its own, so that one more draw here changes nothing there."""

from __future__ import annotations

import random

__all__ = ["Chance"]


class Chance:
    """Streams of one seed; the same for ever, on every machine and in every process."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def stream(self, *names: object) -> random.Random:
        """The stream of that name, from its beginning."""
        # Seeded with text, not with `hash`, which differs between processes.
        return random.Random(f"{self.seed}/{'/'.join(map(str, names))}")  # noqa: S311 - guards nothing
