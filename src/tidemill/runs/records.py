"""The records of a run's history, and their stored form.

A history row holds the records of one decision as a JSON array of arrays, the record's name first. Tasks are named by
their ids, so that a history can be read without the definition it was made with. Names and orders of fields are for
ever: old histories replay on new code.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import orjson

__all__ = [
    "CancelRequested",
    "Failure",
    "Record",
    "RunEnded",
    "RunRecovered",
    "RunStarted",
    "TaskCancelled",
    "TaskFailed",
    "TaskLost",
    "TaskRetrying",
    "TaskStarted",
    "TaskSucceeded",
    "decode",
    "encode",
]


class Failure(NamedTuple):
    """Why an attempt failed."""

    error_type: str
    message: str
    traceback: str = ""


class RunStarted(NamedTuple):
    """The run left the queue."""


class RunRecovered(NamedTuple):
    """The process died while attempts of this run were running."""


class CancelRequested(NamedTuple):
    """Somebody asked to cancel the run."""

    by: str


class RunEnded(NamedTuple):
    """The run reached a final state; its completion event is in the same transaction."""

    state: str
    reason: str


class TaskStarted(NamedTuple):
    """An attempt may begin (it does when this record is on disk)."""

    task: str
    attempt: int


class TaskSucceeded(NamedTuple):
    """The task returned `result` (JSON text). Attempt 0: carried over from the run that this one retries."""

    task: str
    attempt: int
    result: bytes


class TaskRetrying(NamedTuple):
    """The attempt failed and the next one is due at `due_at`."""

    task: str
    attempt: int
    failure: Failure
    due_at: int


class TaskFailed(NamedTuple):
    """The attempt failed and there is no further one."""

    task: str
    attempt: int
    failure: Failure


class TaskCancelled(NamedTuple):
    """The attempt stopped because the run was cancelled."""

    task: str
    attempt: int


class TaskLost(NamedTuple):
    """The attempt's outcome was lost with the process; the task is ready again."""

    task: str
    attempt: int


Record = (
    RunStarted
    | RunRecovered
    | CancelRequested
    | RunEnded
    | TaskStarted
    | TaskSucceeded
    | TaskRetrying
    | TaskFailed
    | TaskCancelled
    | TaskLost
)

_NAMES: dict[type[Record], str] = {
    RunStarted: "run_started",
    RunRecovered: "run_recovered",
    CancelRequested: "cancel_requested",
    RunEnded: "run_ended",
    TaskStarted: "task_started",
    TaskSucceeded: "task_succeeded",
    TaskRetrying: "task_retrying",
    TaskFailed: "task_failed",
    TaskCancelled: "task_cancelled",
    TaskLost: "task_lost",
}
_TYPES = {name: record for record, name in _NAMES.items()}


def encode(records: Sequence[Record]) -> bytes:
    """The stored form of one decision."""
    rows: list[tuple[object, ...]] = []
    for record in records:
        if type(record) is TaskSucceeded:
            rows.append(("task_succeeded", record[0], record[1], orjson.Fragment(record[2])))
        elif type(record) is TaskStarted:
            rows.append(("task_started", record[0], record[1]))
        else:
            rows.append((_NAMES[type(record)], *(tuple(v) if isinstance(v, Failure) else v for v in record)))
    return orjson.dumps(rows)


def decode(body: bytes) -> list[Record]:
    """Records from their stored form."""
    return [_decode(row) for row in orjson.loads(body)]


def _decode(row: list[object]) -> Record:
    kind = _TYPES[str(row[0])]
    values = row[1:]
    if kind is TaskSucceeded:
        values[2] = orjson.dumps(values[2])
    elif kind is TaskFailed or kind is TaskRetrying:
        values[2] = Failure(*values[2])  # type: ignore[misc]
    return kind(*values)  # type: ignore[arg-type]
