"""Ready tasks and their turn: they are queued with the scheduler, and begin, or are given up, when it says so.

What is decided here goes into the run's records like everything else: an attempt begins when they are on disk.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from tidemill.clock import Clock, Wakeup
from tidemill.engine.live import LiveRun
from tidemill.engine.past import PastGate
from tidemill.engine.scheduler import Grant, Scheduler
from tidemill.engine.scheduler.ticket import Ticket
from tidemill.runs import decide
from tidemill.runs.records import Failure
from tidemill.runs.state import TaskState

__all__ = ["Starts"]

logger = logging.getLogger(__name__)


class Host(Protocol):
    """The live runs, whose tasks this begins."""

    touched: list[LiveRun]
    draining: bool

    def touch(self, live: LiveRun, now: int) -> int:
        """Records of a run are about to be added; returns their time."""

    def queue_ready(self, live: LiveRun) -> None:
        """Tasks of a run may have become ready."""

    def holds(self, live: LiveRun, index: int) -> bool:
        """Whether a task has to wait for the turn of its run."""

    def is_suspect(self, live: LiveRun) -> bool:
        """Whether tasks of a run may have to wait for its turn."""


class Starts:
    """Who begins, and when."""

    def __init__(
        self, host: Host, scheduler: Scheduler, past: PastGate, *, clock: Clock, wake: Callable[[], None]
    ) -> None:
        """`wake` is called when a waiting task must have started."""
        self.scheduler = scheduler
        self.past = past
        self._host = host
        self._clock = clock
        self._wake = wake
        #: Wakes us when a waiting task must have started.
        self._start_timer: tuple[int, Wakeup] | None = None

    def queue(self, live: LiveRun, index: int) -> None:
        """A ready or due task waits for its turn."""
        ticket = self.scheduler.queue(live, index)
        if ticket is not None:  # it asks for more than a slot of its executor
            self._queue_ticket(ticket)

    def _queue_ticket(self, ticket: Ticket) -> None:
        scheduler = self.scheduler
        reason = scheduler.lacks(ticket.ask)
        if reason is not None:
            scheduler.doomed.append((ticket, reason))
        elif not ticket.ask.depends_on_past or self.past.lets(ticket):
            scheduler.wait(ticket)
        if ticket.ask.start_timeout is not None:
            self._watch_starts()

    def _watch_starts(self) -> None:
        """Wake up when the next waiting task must have started."""
        due = self.scheduler.deadlines.next
        if self._start_timer is not None:
            if due is not None and self._start_timer[0] <= due:
                return
            self._start_timer[1].cancel()
            self._start_timer = None
        if due is not None:
            seconds = (due - self._clock.now_us()) / 1_000_000
            self._start_timer = (due, self._clock.call_later(max(0.0, seconds), self._wake_starts))

    def _wake_starts(self) -> None:
        self._start_timer = None
        self._wake()

    async def look_at_past(self) -> None:
        """Tasks that waited for the run before wait for their turn, where it is made good elsewhere."""
        for ticket in await self.past.released():
            self.scheduler.wait(ticket)

    def goes_on(self, live: LiveRun, grant: Grant) -> bool:
        """A task of a plain graph has succeeded: its slot goes to the one task that waited for it alone, at once.

        False when there is none, or somebody else waits for the slot, or may: then everything is decided in `begin`.
        """
        ready, host = live.state.ready, self._host
        if len(ready) != 1 or live.held or host.draining or host.is_suspect(live):
            return False
        index = ready[0]
        if not self.scheduler.hand_over(grant, live, index):
            return False
        ready.popleft()
        decide.start_task(live.state, index, live.at, live.records)
        live.starting.append(index)
        live.grants[index] = grant
        return True

    def begin(self, now: int) -> None:
        """Begin the tasks whose turn it is, as far as there is room; fail those that can never begin."""
        if self._host.draining:
            return
        scheduler = self.scheduler
        scheduler.tick(now)
        if scheduler.is_overdue:
            self._give_up(now)
        while (entry := scheduler.next()) is not None:
            live, index = entry[3], entry[4]
            if live.dropped:
                scheduler.pass_over(is_gone=True)
                continue
            if self._host.holds(live, index):
                scheduler.pass_over()
                continue
            if live.dag.max_active_tasks is not None and live.is_full:
                live.held.append(index)
                scheduler.pass_over()
                continue
            fresh = not live.records
            if fresh:
                live.at = now
            if decide.start_task(live.state, index, live.at, live.records) is None:
                scheduler.pass_over(is_gone=True)
                continue
            if fresh:
                self._host.touched.append(live)
            if live.state.unfolding is not None and live.state.node(index).is_early:
                live.note_results(index)
            live.starting.append(index)
            live.grants[index] = scheduler.take()
        if self._start_timer is not None:
            self._watch_starts()

    def _give_up(self, now: int) -> None:
        """Tasks that have waited too long, or ask for what is not there, have failed."""
        scheduler = self.scheduler
        while scheduler.is_overdue:
            for ticket in scheduler.deadlines.expired(now):
                seconds = (ticket.ask.start_timeout or 0) / 1_000_000
                message = f"the task waited longer than its start_timeout of {seconds:g} s"
                self._fail(ticket, "StartTimedOut", message, now)
            while scheduler.doomed:
                ticket, reason = scheduler.doomed.pop()
                if ticket.is_waiting:
                    self._fail(ticket, "ResourcesImpossible", reason, now)
        self._watch_starts()

    def _fail(self, ticket: Ticket, error_type: str, message: str, now: int) -> None:
        """The attempt that would begin has failed for good, without having begun."""
        live, index = ticket.live, ticket.index
        self.scheduler.close(ticket)
        at = self._host.touch(live, now)
        if error_type == "StartTimedOut" and live.state.tasks[index] is TaskState.READY:
            seconds = (ticket.ask.start_timeout or 0) / 1_000_000
            decide.start_timed_out(live.state, index, seconds, at, live.records)
        elif decide.start_task(live.state, index, at, live.records) is not None:
            failure = Failure(error_type, message)
            decide.attempt_failed(live.state, index, failure, at, live.records, permanent=True)
        facts = {
            "run_id": live.run_id,
            "task": live.state.name(index),
            "attempt": live.state.attempts[index],
            "error": f"{error_type}: {message}",
        }
        logger.warning("task.failed", extra=facts)
        self._host.queue_ready(live)
