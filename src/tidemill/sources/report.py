"""What a source reports of itself: its state and what it has counted since the process started.

For every source that pulls, ours and a plug-in's: the parts of the source write, `status` reads.
"""

from __future__ import annotations

from collections.abc import Sequence

from tidemill.clock import Clock
from tidemill.sources.contract import SourceState, SourceStatus
from tidemill.sources.state import StateMachine
from tidemill.storage.contract import Appended

__all__ = ["SourceReport"]


class SourceReport:
    """The state machine and the counters of one source."""

    def __init__(self, name: str, *, kind: str, clock: Clock) -> None:
        self._name = name
        self._kind = kind
        self._clock = clock
        self._machine = StateMachine(name, kind)
        self._accepted = 0
        self._duplicates = 0
        self._refused = 0
        self._last_event_at: int | None = None
        #: How it receives, for a source that has several ways.
        self.mode = ""

    @property
    def state(self) -> SourceState:
        """The present state."""
        return self._machine.state

    def begin(self) -> None:
        """`run` was called; the first thing it does."""
        if self._machine.state is not SourceState.STARTING:
            self._machine.become(SourceState.STARTING)

    def live(self) -> None:
        """Everything is well."""
        self._machine.become(SourceState.LIVE)

    def degrade(self, error: str) -> None:
        """Receiving, but not all or not now."""
        self._machine.become(SourceState.DEGRADED, error)

    def stall(self, error: Exception | str) -> None:
        """Not receiving; tried again by itself."""
        self._machine.become(SourceState.STALLED, str(error) or type(error).__name__)

    def stop(self) -> None:
        """`run` ends; the last thing it does."""
        self._machine.become(SourceState.STOPPED)

    def count(self, answers: Sequence[Appended], refused: int = 0) -> None:
        """Count what the log has taken; position 0 is an event that became a dead letter there."""
        duplicates = sum(answer.duplicate for answer in answers)
        buried = sum(answer.position == 0 for answer in answers)
        accepted = len(answers) - duplicates - buried
        self._duplicates += duplicates
        self._refused += buried + refused
        self._accepted += accepted
        if accepted:
            self._last_event_at = self._clock.now_us()

    def status(self, lag: int | None = None) -> SourceStatus:
        """The present status."""
        return SourceStatus(
            name=self._name,
            kind=self._kind,
            state=self._machine.state,
            accepted=self._accepted,
            duplicates=self._duplicates,
            refused=self._refused,
            last_event_at=self._last_event_at,
            lag=lag,
            error=self._machine.error,
            mode=self.mode,
        )
