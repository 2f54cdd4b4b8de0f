"""What waits in the admission of triggers, and what it remembers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

__all__ = ["AdmissionChanges", "Admissions", "HeldEvent", "MemoryKey", "Remembered"]


#: (trigger, stage, key)
MemoryKey = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class HeldEvent:
    """An event that matched a trigger and waits in a stage of its admission."""

    position: int
    trigger: str
    stage: str
    key: str
    #: JSON text, of routing's making.
    body: bytes


@dataclass(frozen=True, slots=True)
class Remembered:
    """What a stage of admission knows of a key, until it means nothing any more."""

    trigger: str
    stage: str
    key: str
    #: Microseconds since the epoch.
    until: int
    #: JSON text, of routing's making.
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionChanges:
    """What a routing decision changes in what waits and what is remembered."""

    #: Number of such changes before this one: whoever decided on an older state is refused.
    turn: int
    #: Rows that are new or changed.
    held: Sequence[HeldEvent] = ()
    #: (position, trigger) of what is not held any more.
    released: Sequence[tuple[int, str]] = ()
    remembered: Sequence[Remembered] = ()
    #: Forget what means nothing after this time.
    forget_before: int | None = None
    #: (run, by) of runs that are to be cancelled.
    cancels: Sequence[tuple[str, str]] = ()
    #: When this was decided.
    at: int = 0


class Admissions(Protocol):
    """What waits in the admission of triggers. Written by `RunStore.route` only."""

    async def turn(self) -> int:
        """How often it was changed."""

    async def held(self, *, after: tuple[int, str], limit: int) -> list[HeldEvent]:
        """Held events by (position, trigger), after that place."""

    async def held_at(self, position: int) -> list[HeldEvent]:
        """Where the event at `position` is held, per trigger."""

    async def counts(self) -> dict[tuple[str, str], int]:
        """Number of held events per (trigger, stage)."""

    async def remembered(self, *, limit: int) -> list[Remembered]:
        """Up to `limit` of what is remembered, that which is remembered longest first."""

    async def recall(self, keys: Sequence[MemoryKey]) -> list[Remembered]:
        """What is remembered of these keys."""

    async def open_runs(self, *, after: str, limit: int) -> list[tuple[str, str, str]]:
        """(run, trigger, admission) of runs that hold keys and have not ended, by id, with id > `after`."""
