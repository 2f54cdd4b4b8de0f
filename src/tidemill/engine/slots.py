"""Who may run now: tasks that are ready wait here, in the order in which they became ready, for a free slot."""

from __future__ import annotations

from collections import deque

from tidemill.engine.live import LiveRun

__all__ = ["Slots"]


class Slots:
    """The slots of one executor."""

    def __init__(self, size: int) -> None:
        self.free = size
        self.size = size
        self._waiting: deque[tuple[LiveRun, int]] = deque()

    @property
    def waiting(self) -> int:
        """Tasks that wait for a slot."""
        return len(self._waiting)

    def wait(self, live: LiveRun, index: int) -> None:
        """Queue a ready task."""
        self._waiting.append((live, index))

    def next(self) -> tuple[LiveRun, int] | None:
        """The task that is next when there is a free slot for it; the caller takes the slot."""
        return self._waiting.popleft() if self.free and self._waiting else None

    def release(self) -> None:
        """An attempt has ended."""
        self.free += 1
