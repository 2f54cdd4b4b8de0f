"""What one HTTP source has seen since the process started, as its status shows it."""

from __future__ import annotations

from collections.abc import Sequence

from tidemill.clock import Clock
from tidemill.errors import StorageError
from tidemill.sources.contract import SourceState, SourceStatus
from tidemill.sources.state import StateMachine
from tidemill.storage.contract import Appended

__all__ = ["Tally"]


class Tally:
    """Counts answers; a source that cannot store what it receives is stalled until it can again."""

    def __init__(self, name: str, kind: str, *, clock: Clock) -> None:
        self._name = name
        self._kind = kind
        self._clock = clock
        self._accepted = 0
        self._duplicates = 0
        self._refused = 0
        self._last_event_at: int | None = None
        self._machine = StateMachine(name, kind)

    def count(self, answers: Sequence[Appended]) -> None:
        """Count events that the log has taken."""
        for answer in answers:
            if answer.duplicate:
                self._duplicates += 1
            else:
                self._accepted += 1
                self._last_event_at = self._clock.now_us()
        if self._machine.state is SourceState.STALLED:
            self._machine.become(SourceState.LIVE)

    def refuse(self, error: Exception) -> None:
        """Count a request that was refused."""
        self._refused += 1
        if isinstance(error, StorageError):
            self._machine.become(SourceState.STALLED, str(error))

    def status(self, error: str = "") -> SourceStatus:
        """The counts as a source's status; `error` says why it takes nothing."""
        error = error or self._machine.error
        return SourceStatus(
            name=self._name,
            kind=self._kind,
            state=SourceState.STALLED if error else SourceState.LIVE,
            accepted=self._accepted,
            duplicates=self._duplicates,
            refused=self._refused,
            last_event_at=self._last_event_at,
            error=error,
        )
