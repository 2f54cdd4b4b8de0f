"""How long tasks take: one small sketch for each task of each DAG, of the core's making."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

__all__ = ["Durations", "TaskDuration"]


@dataclass(frozen=True, slots=True)
class TaskDuration:
    """What is known of one task."""

    dag: str
    task: str
    #: When it was learned last, microseconds since the epoch.
    at: int
    #: See `tidemill.runs.durations`.
    body: bytes


class Durations(Protocol):
    """What was learned. Nodes that share a database write over each other: whoever learned last wins."""

    async def save(self, rows: Sequence[TaskDuration], *, forget_before: int | None = None) -> None:
        """Keep these; durable on return. Forgets tasks that were last learned before that time."""

    async def of(self, dag: str) -> list[TaskDuration]:
        """What is known of the tasks of one DAG."""

    async def since(self, at: int, *, limit: int) -> list[TaskDuration]:
        """What was learned at or after `at`, the latest first."""
