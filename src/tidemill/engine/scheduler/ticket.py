"""A waiting task that asks for more than a slot of its executor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tidemill.engine.live import LiveRun
from tidemill.engine.scheduler.ask import Ask
from tidemill.runs.state import TaskState

if TYPE_CHECKING:
    from tidemill.engine.scheduler.limit import Limit
    from tidemill.engine.scheduler.queue import Entry

__all__ = ["Ticket"]

_WAITING = (TaskState.READY, TaskState.RETRYING)


@dataclass(slots=True, eq=False)
class Ticket:
    """Stands for one task run from the moment it is ready until its attempt starts, wherever it waits meanwhile."""

    live: LiveRun
    index: int
    ask: Ask
    #: When it became ready, in microseconds.
    since: int
    #: See `queue.Entry`; they do not change, so that a task which was set aside comes back to its place.
    level: int
    rank: float
    turn: int
    limits: tuple[Limit, ...] = ()
    #: The limit that has set it aside and let it go again.
    out_of: Limit | None = None
    #: False once it has started, has timed out, or its run has left.
    is_open: bool = True
    #: Whether it stands in a queue, or is set aside by a limit.
    is_queued: bool = False

    @property
    def entry(self) -> Entry:
        """Its place in a queue."""
        return (self.level, self.rank, self.turn, self.live, self.index, self)

    @property
    def is_waiting(self) -> bool:
        """Whether its task may still start."""
        live = self.live
        return self.is_open and not live.dropped and live.state.tasks[self.index] in _WAITING
