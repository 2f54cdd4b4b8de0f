"""How a Kafka source is doing: its state and counts since the process started."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from tidemill.clock import Clock
from tidemill.sources.contract import SourceState, SourceStatus
from tidemill.storage.contract import Appended

__all__ = ["Report"]

logger = logging.getLogger(__name__)


class Report:
    """Written by the stage's parts, read by its status; logs each change of state."""

    def __init__(self, name: str, *, clock: Clock) -> None:
        self._name = name
        self._clock = clock
        self.state = SourceState.STARTING
        self._error = ""
        self._accepted = 0
        self._duplicates = 0
        self._refused = 0
        self._last_event_at: int | None = None

    def live(self) -> None:
        """Everything is well."""
        if self.state is not SourceState.LIVE:
            logger.info("source.started", extra={"source": self._name, "kind": "kafka"})
        self.state, self._error = SourceState.LIVE, ""

    def degrade(self, error: str) -> None:
        """Reading, but not all or not now."""
        if (self.state, self._error) != (SourceState.DEGRADED, error):
            logger.warning("source.degraded", extra={"source": self._name, "error": error})
        self.state, self._error = SourceState.DEGRADED, error

    def stall(self, error: Exception | str) -> None:
        """Not reading; tried again by itself."""
        text = str(error) or type(error).__name__
        if self.state is not SourceState.STALLED:
            logger.warning("source.stalled", extra={"source": self._name, "error": text})
        self.state, self._error = SourceState.STALLED, text

    def stop(self) -> None:
        """The stage has ended."""
        self.state = SourceState.STOPPED

    def count(self, answers: Sequence[Appended], refused: int) -> None:
        """Count what the log has taken; position 0 is an event that became a dead letter there."""
        duplicates = sum(answer.duplicate for answer in answers)
        buried = sum(answer.position == 0 for answer in answers)
        accepted = len(answers) - duplicates - buried
        self._duplicates += duplicates
        self._refused += buried + refused
        self._accepted += accepted
        if accepted:
            self._last_event_at = self._clock.now_us()

    def status(self, lag: int | None) -> SourceStatus:
        """The present status."""
        return SourceStatus(
            name=self._name,
            kind="kafka",
            state=self.state,
            accepted=self._accepted,
            duplicates=self._duplicates,
            refused=self._refused,
            last_event_at=self._last_event_at,
            lag=lag,
            error=self._error,
        )
