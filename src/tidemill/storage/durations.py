"""How long tasks take, on whatever database is behind `Reading` and `Writing`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tidemill.storage.commit import StatementJob
from tidemill.storage.contract import TaskDuration
from tidemill.storage.reading import Reading
from tidemill.storage.writing import Writing

__all__ = ["StoredDurations"]


class StoredDurations:
    """See `Durations`."""

    def __init__(self, *, writer: Writing, reading: Reading) -> None:
        self._writer = writer
        self._reading = reading

    async def save(self, rows: Sequence[TaskDuration], *, forget_before: int | None = None) -> None:
        """Keep these; durable on return. Forgets tasks that were last learned before that time."""
        statements: list[tuple[str, Sequence[tuple[Any, ...]]]] = []
        if rows:
            statements.append(("put_duration", [(one.dag, one.task, one.at, one.body) for one in rows]))
        if forget_before is not None:
            statements.append(("forget_durations", [(forget_before,)]))
        if statements:
            await self._writer.submit(StatementJob(statements))

    async def of(self, dag: str) -> list[TaskDuration]:
        """What is known of the tasks of one DAG."""
        return [TaskDuration(*row) for row in await self._reading.rows("durations_of", dag)]

    async def since(self, at: int, *, limit: int) -> list[TaskDuration]:
        """What was learned at or after `at`, the latest first."""
        return [TaskDuration(*row) for row in await self._reading.rows("durations_since", at, limit)]
