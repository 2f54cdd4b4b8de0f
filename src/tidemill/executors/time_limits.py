"""What ends an attempt by time: its timeout, and its silence where it promised to report. By the engine's clock.

Silence is found without asking what time it is: a beat sets a mark, and a timer that finds none four times in a row has
found a silence of at least `heartbeat` (and at most a quarter more). A jump of the wall clock changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from tidemill.clock import Clock, Wakeup
from tidemill.executors.result import heartbeat_lost, timed_out
from tidemill.runs.attempts import Attempt, Outcome

__all__ = ["TimeLimits", "has_time_limits"]

#: Looks in the time of one heartbeat.
_LOOKS = 4


def has_time_limits(attempt: Attempt) -> bool:
    """Whether there is anything to watch."""
    node = attempt.node
    return node.timeout is not None or node.policy.heartbeat is not None


class TimeLimits:
    """Watches one attempt from now on."""

    __slots__ = ("_attempt", "_beaten", "_clock", "_look", "_silent", "_stop", "_timer", "broken")

    def __init__(
        self, attempt: Attempt, clock: Clock, stop: Callable[[], None], *, begins: bool = True
    ) -> None:
        """`stop` is called once, when a limit is broken. Without `begins`, silence counts from `begin` on."""
        self._attempt = attempt
        self._clock = clock
        self._stop = stop
        self._timer: Wakeup | None = None
        self._look: Wakeup | None = None
        self._beaten = False
        self._silent = 0
        #: The outcome of an attempt that has broken a limit.
        self.broken: Outcome | None = None
        timeout = attempt.node.timeout
        if timeout is not None:
            self._timer = clock.call_later(timeout.total_seconds(), lambda: self._break(timed_out(attempt)))
        if begins:
            self.begin()

    def begin(self) -> None:
        """From now on silence counts."""
        heartbeat = self._attempt.node.policy.heartbeat
        if heartbeat is not None and self._look is None and self.broken is None:
            self._listen(heartbeat.total_seconds())

    def beat(self) -> None:
        """The attempt is alive; from any thread."""
        self._beaten = True

    def arguments(self) -> Mapping[str, Any]:
        """The attempt's keyword arguments, its context telling of heartbeats here."""
        kwargs, name = self._attempt.kwargs, self._attempt.node.context_parameter
        if self._look is None or name is None:
            return kwargs
        return {**kwargs, name: replace(kwargs[name], beat=self.beat)}

    def cancel(self) -> None:
        """The attempt has ended."""
        for timer in (self._timer, self._look):
            if timer is not None:
                timer.cancel()
        self._timer = None
        self._look = None

    def _listen(self, seconds: float) -> None:
        def look() -> None:
            self._silent = 0 if self._beaten else self._silent + 1
            self._beaten = False
            if self._silent >= _LOOKS:
                self._break(heartbeat_lost(self._attempt))
            else:
                self._listen(seconds)

        self._look = self._clock.call_later(seconds / _LOOKS, look)

    def _break(self, outcome: Outcome) -> None:
        if self.broken is None:
            self.broken = outcome
            self.cancel()
            self._stop()
