"""Runs that the next death of the process would fail take turns: who merely died with a killer is not taken for one.

Whatever was under way when the process died is suspect, and all of it is begun again together: without turns a run that
kills at once would take its neighbours along until all of them have died too often.

1. A suspect begins its tasks only in its turn, and one at a time has it. Tasks that are held back were never started: a
   death does not count for their runs.
2. The first turn begins when the other runs that were read back have lived for a while: one of them may kill, and not
   have died often enough to be a suspect.
3. A turn ends with its run, or after a time in which it killed nobody: that run is then like any other here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from tidemill.clock import Clock, Wakeup
from tidemill.engine.live import LiveRun

__all__ = ["Probation"]

_QUIET_SECONDS = 1.0
_TURN_SECONDS = 10.0


class Probation:
    """The suspects of this process; `begin(live, index)` is told of held tasks whose turn has come."""

    def __init__(self, *, clock: Clock, begin: Callable[[LiveRun, int], None]) -> None:
        self._clock = clock
        self._begin = begin
        #: In the order of their turns, each with the tasks that are held back.
        self._suspects: dict[LiveRun, list[int]] = {}
        self._turn: LiveRun | None = None
        self._timer: Wakeup | None = None

    def enter(self, suspects: Collection[LiveRun], *, others: bool) -> None:
        """These runs were just read back; `others` when runs that are no suspects were, too."""
        self._suspects.update((live, []) for live in suspects)
        if self._suspects and self._turn is None and self._timer is None:
            if others:
                self._timer = self._clock.call_later(_QUIET_SECONDS, self._next)
            else:
                self._next()

    def holds(self, live: LiveRun, index: int) -> bool:
        """Whether the task has to wait for the turn of its run; then it is begun by itself."""
        if live is self._turn or live not in self._suspects:
            return False
        self._suspects[live].append(index)
        return True

    def is_suspect(self, live: LiveRun) -> bool:
        """Whether the run has to wait for its turn, or has it."""
        return live in self._suspects

    def leave(self, live: LiveRun) -> None:
        """The run has ended, or is another node's."""
        self._suspects.pop(live, None)
        if live is self._turn:
            self._next()

    def _acquit(self) -> None:
        if self._turn is not None:
            del self._suspects[self._turn]
        self._next()

    def _next(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._turn = live = next(iter(self._suspects), None)
        if live is None:
            return
        self._timer = self._clock.call_later(_TURN_SECONDS, self._acquit)
        held, self._suspects[live] = self._suspects[live], []
        for index in held:
            self._begin(live, index)
