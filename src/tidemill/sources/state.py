"""The states of a source, as one table, and the machine that walks it.

Rules:
1. Every state change of a running source goes through `StateMachine.become`, which refuses what is not in the table.
2. Each change is one log event, written here and nowhere else. Staying in a state says nothing, except a new reason
   for being degraded.
3. `paused` and `resumed` are told by whoever pauses (`sources.pauses`): to the source itself a pause is a stop.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from tidemill.errors import InvalidTransition
from tidemill.sources.contract import SourceState

__all__ = ["TRANSITIONS", "StateMachine"]

logger = logging.getLogger(__name__)

_S = SourceState

#: What each state may become. A source that is stopped or paused begins again by `starting`.
TRANSITIONS: Mapping[SourceState, frozenset[SourceState]] = {
    _S.STARTING: frozenset({_S.LIVE, _S.DEGRADED, _S.STALLED, _S.PAUSED, _S.STOPPED}),
    _S.LIVE: frozenset({_S.DEGRADED, _S.STALLED, _S.PAUSED, _S.STOPPED}),
    _S.DEGRADED: frozenset({_S.LIVE, _S.STALLED, _S.PAUSED, _S.STOPPED}),
    #: Back to `starting` when what stalled it is mended before it ever was live.
    _S.STALLED: frozenset({_S.STARTING, _S.LIVE, _S.DEGRADED, _S.PAUSED, _S.STOPPED}),
    _S.PAUSED: frozenset({_S.STARTING, _S.STOPPED}),
    _S.STOPPED: frozenset({_S.STARTING, _S.PAUSED}),
}


class StateMachine:
    """The state of one source and why it is in it."""

    def __init__(self, source: str, kind: str) -> None:
        self._source = source
        self._kind = kind
        self._state = SourceState.STARTING
        self._error = ""
        self._was_live = False

    @property
    def state(self) -> SourceState:
        """The present state."""
        return self._state

    @property
    def error(self) -> str:
        """Why it is degraded or stalled; empty in the other states."""
        return self._error

    def become(self, state: SourceState, error: str = "") -> None:
        """Change the state, or only its reason; raises `InvalidTransition` for what the table does not have."""
        before = self._state
        if state is not before and state not in TRANSITIONS[before]:
            raise InvalidTransition(f"of source {self._source}", state, before)
        news = state is not before or (state is SourceState.DEGRADED and error != self._error)
        self._state, self._error = state, error
        if news:
            self._tell(before)

    def _tell(self, before: SourceState) -> None:
        facts = {"source": self._source}
        match self._state:
            case SourceState.LIVE if before is SourceState.STARTING and not self._was_live:
                logger.info("source.started", extra={**facts, "kind": self._kind})
            case SourceState.LIVE:
                logger.info("source.recovered", extra={**facts, "kind": self._kind})
            case SourceState.DEGRADED:
                logger.warning("source.degraded", extra={**facts, "error": self._error})
            case SourceState.STALLED:
                logger.warning("source.stalled", extra={**facts, "error": self._error})
            case SourceState.STOPPED:
                logger.info("source.stopped", extra={**facts, "kind": self._kind})
            case SourceState.STARTING | SourceState.PAUSED:
                pass
        self._was_live = self._state is not SourceState.STOPPED and (
            self._was_live or self._state is SourceState.LIVE
        )
