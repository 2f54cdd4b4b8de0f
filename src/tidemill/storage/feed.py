"""Hand-over of committed values from the writer to one stage, in memory and bounded.

When the stage is slower than the writer, values are dropped here and the stage is told so: they are in the
database, where it reads them when it gets there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

__all__ = ["Feed"]

T = TypeVar("T")


class Feed(Generic[T]):
    """Committed values on their way to the stage that listens."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._values: list[T] = []
        self._missed = False
        self._wake: Callable[[], None] | None = None

    def listen(self, wake: Callable[[], None]) -> None:
        """Call `wake` in the event loop whenever there is something to take. One listener at a time."""
        self._wake = wake
        if self._values or self._missed:
            wake()

    def put(self, values: Iterable[T]) -> None:
        """Hand over committed values; beyond the limit they are only counted as missed."""
        if self._wake is None:
            return
        for value in values:
            if len(self._values) >= self._limit:
                self._missed = True
                break
            self._values.append(value)
        if self._values or self._missed:
            self._wake()

    def miss(self) -> None:
        """Something was committed that cannot be handed over (the commit's answer was lost)."""
        if self._wake is not None:
            self._missed = True
            self._wake()

    def take(self) -> tuple[list[T], bool]:
        """What was handed over, and whether something was missed and must be read from the database."""
        values, self._values = self._values, []
        missed, self._missed = self._missed, False
        return values, missed
