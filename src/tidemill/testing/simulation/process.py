"""Which process a callback belongs to: what was begun inside one ends with it, whenever it is killed."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from typing import Any

__all__ = ["Process", "current_process"]

_PROCESS: contextvars.ContextVar[Process | None] = contextvars.ContextVar(
    "tidemill_simulated_process", default=None
)
#: Tasks that have ended are forgotten when there are so many.
_SWEEP = 2048


def current_process(context: contextvars.Context) -> Process | None:
    """The process that `context` belongs to; None outside of all."""
    return context.get(_PROCESS)


class Process:
    """One life of the service: everything that runs in its context, until it is dead."""

    def __init__(self, number: int, *, steps: int | None = None) -> None:
        #: From 1.
        self.number = number
        #: Steps until it is killed; None: it is not.
        self.steps_left = steps
        self.is_dead = False
        #: Called once, outside of the process, when it dies.
        self.on_death: list[Callable[[], None]] = []
        #: Callbacks that were due when it died, or later.
        self.left_behind: list[asyncio.Handle] = []
        self._tasks: list[asyncio.Task[Any]] = []
        self.context = contextvars.copy_context()
        self.context.run(_PROCESS.set, self)

    def kill(self) -> None:
        """SIGKILL: nothing of it runs any more, nothing is tidied."""
        if self.is_dead:
            return
        self.is_dead = True
        listeners, self.on_death = self.on_death, []
        for listener in listeners:
            listener()

    def own(self, task: asyncio.Task[Any]) -> None:
        """Keep a task that was made inside, so that nobody collects what a dead process leaves behind."""
        self._tasks.append(task)
        if len(self._tasks) > _SWEEP:
            self._tasks = self.unfinished()

    def unfinished(self) -> list[asyncio.Task[Any]]:
        """Tasks that have not ended."""
        return [task for task in self._tasks if not task.done()]
