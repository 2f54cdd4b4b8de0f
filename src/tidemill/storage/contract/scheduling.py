"""What the scheduler must find again: limits that were set while the service ran, and what tasks came to before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

__all__ = ["PastOutcome", "Pasts", "PoolSetting", "Pools"]


class PoolSetting(NamedTuple):
    """Slots of a pool that somebody set."""

    name: str
    slots: int
    by: str
    at: int


class Pools(Protocol):
    """Limits of pools; durable, and the same on every node."""

    async def all(self) -> list[PoolSetting]:
        """Every pool whose limit was set, by name."""

    async def put(self, name: str, slots: int, *, by: str) -> None:
        """Set the slots of a pool; durable on return."""

    async def reset(self, name: str) -> None:
        """Forget what was set: what the settings say holds again."""


class PastOutcome(NamedTuple):
    """What a task that depends on the past came to."""

    dag: str
    task: str
    #: The run whose place in the order of runs it was: a run that was made again has the place of the first one.
    place: str
    #: "succeeded", "skipped", "failed" and so on, or "marked" for what somebody let pass.
    state: str


class Pasts(Protocol):
    """Outcomes of tasks that depend on the past, written with the records that they follow from."""

    async def before(self, dag: str, place: str) -> str | None:
        """The run of this DAG before that place, runs that were made again left out; None for the first one."""

    async def outcomes(self, dag: str, place: str) -> Mapping[str, str]:
        """States by task, of one place."""

    async def mark(self, dag: str, place: str, tasks: list[str]) -> None:
        """Let pass what waits for these tasks of that place; durable on return."""
