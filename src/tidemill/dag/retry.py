"""When a failed attempt is tried again: a value that decides, and performs nothing.

Rules:

1. `give_up_on` wins over `retry_on`; both hold for subclasses.
2. `retry_on` is about what the task's function raises. What happens to an attempt from outside (a timeout, a lost
   worker) is tried again, unless `give_up_on` names it.
3. A policy that uses none of the later fields reads as it always did: its text is part of the versions of DAGs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from tidemill.errors import TaskError

__all__ = ["GROWTHS", "Retry"]

#: How delays grow.
GROWTHS = ("exponential", "linear", "fixed")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Retry:
    """Attempts and the delays between them, and which failures are worth another attempt."""

    #: The first attempt included.
    max_attempts: int = 1
    #: Before the second attempt.
    delay: timedelta = timedelta(seconds=1)
    #: With exponential growth, each further delay is the last one times this.
    backoff: float = 2.0
    max_delay: timedelta = timedelta(minutes=10)
    #: Share of the delay that chance may take away or add, 0 to 1; "full": anything from 0 to the delay.
    jitter: float | Literal["full"] = 0.1
    #: exponential: times `backoff` each time; linear: `delay` more each time; fixed: always `delay`.
    growth: Literal["exponential", "linear", "fixed"] = "exponential"
    #: Exception types (or their dotted names) that are tried again; empty: all.
    retry_on: Any = ()
    #: Exception types (or their dotted names) that no further attempt can help.
    give_up_on: Any = ()

    def __post_init__(self) -> None:
        for name in ("retry_on", "give_up_on"):
            object.__setattr__(self, name, _listed(getattr(self, name)))

    def __repr__(self) -> str:
        text = (
            f"Retry(max_attempts={self.max_attempts!r}, delay={self.delay!r}, backoff={self.backoff!r}, "
            f"max_delay={self.max_delay!r}, jitter={self.jitter!r}"
        )
        if self.growth != "exponential":
            text += f", growth={self.growth!r}"
        if self.retry_on:
            text += f", retry_on={list(map(_name_of, self.retry_on))}"
        if self.give_up_on:
            text += f", give_up_on={list(map(_name_of, self.give_up_on))}"
        return text + ")"

    def delay_after(self, attempt: int, chance: float) -> float | None:
        """Seconds to wait after failed `attempt` (from 1), None when there is no further attempt.

        `chance` in [0, 1) spreads retries by `jitter`: the core draws nothing. Never above `max_delay`.
        """
        if attempt >= self.max_attempts:
            return None
        ceiling = self.max_delay.total_seconds()
        seconds = min(self._grown(attempt), ceiling)
        if self.jitter == "full":
            return seconds * chance
        return min(ceiling, seconds * (1 + self.jitter * (2 * chance - 1)))

    def _grown(self, attempt: int) -> float:
        seconds = self.delay.total_seconds()
        match self.growth:
            case "linear":
                return seconds * attempt
            case "fixed":
                return seconds
        try:
            return seconds * self.backoff ** (attempt - 1)
        except OverflowError:
            return float("inf")

    def gives_up_on(self, error: BaseException) -> bool:
        """Whether no further attempt follows this exception of the task."""
        if not (self.retry_on or self.give_up_on):
            return False
        kinds = type(error).__mro__
        if any(_is_one(kinds, given) for given in self.give_up_on):
            return True
        if not self.retry_on or isinstance(error, TaskError):
            return False
        return not any(_is_one(kinds, given) for given in self.retry_on)

    def gives_up_on_kind(self, kind: str) -> bool:
        """The same for a failure that is no exception of the task's, such as `TaskTimedOut`."""
        return any(_name_of(given).rpartition(".")[2] == kind for given in self.give_up_on)


def _listed(value: Any) -> Any:
    """What was written as a tuple; one thing may be written without a list."""
    if isinstance(value, list | set | frozenset):
        return tuple(sorted(value, key=_name_of)) if isinstance(value, set | frozenset) else tuple(value)
    return (value,) if isinstance(value, str | type) else value


def _name_of(given: Any) -> str:
    """A type's name without what differs from machine to machine."""
    if not isinstance(given, type):
        return str(given)
    private = given.__module__ == "builtins" or given.__module__.startswith("tidemill_workflow_")
    return given.__qualname__ if private else f"{given.__module__}.{given.__qualname__}"


def _is_one(kinds: tuple[type, ...], given: Any) -> bool:
    if isinstance(given, type):
        return given in kinds
    return any(given in _names_of(kind) for kind in kinds) or _found(given) in kinds


def _names_of(kind: type) -> Iterator[str]:
    yield kind.__qualname__
    yield f"{kind.__module__}.{kind.__qualname__}"


def _found(name: str) -> object:
    """What a dotted name means: libraries show their exceptions in other places than they define them."""
    module, _, attribute = str(name).rpartition(".")
    return getattr(sys.modules.get(module), attribute, None) if module else None
