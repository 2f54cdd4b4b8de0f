"""A run as tests look at it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from tidemill.runs.records import Record, decode
from tidemill.runs.view import TaskView
from tidemill.storage.contract import RunSummary
from tidemill.testing.histories import describe

__all__ = ["RunView"]


@dataclass(frozen=True, slots=True)
class RunView:
    """One run and its tasks, as they stand on disk."""

    summary: RunSummary
    #: By task id, in topological order.
    tasks: Mapping[str, TaskView]
    #: (sequence, at, body) of its history.
    history: Sequence[tuple[int, int, bytes]]

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self.summary.run_id

    @property
    def parameters(self) -> Any:
        """The run's parameters by name, as JSON values."""
        return orjson.loads(self.summary.parameters)

    @property
    def state(self) -> str:
        """The run's state."""
        return self.summary.state

    @property
    def states(self) -> dict[str, str]:
        """Task id to the task's state."""
        return {task_id: str(task.state) for task_id, task in self.tasks.items()}

    @property
    def records(self) -> list[Record]:
        """Everything that happened, in order."""
        return [record for _, _, body in self.history for record in decode(body)]

    def __str__(self) -> str:
        return describe(self.summary, self.history)

    def result(self, task_id: str) -> Any:
        """What a succeeded task returned."""
        text = self.tasks[task_id].result
        if text is None:
            raise LookupError(f"task {task_id!r} is {self.tasks[task_id].state} and has no result")
        return orjson.loads(text)
