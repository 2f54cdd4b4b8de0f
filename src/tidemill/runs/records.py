"""The records of a run's history, and their stored form.

A history row holds the records of one decision as a JSON array of arrays, the record's name first. Tasks are named by
their ids, so that a history can be read without the definition it was made with. Names and orders of fields are for
ever: old histories replay on new code.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson

__all__ = [
    "CancelRequested",
    "DependencyDecided",
    "Failure",
    "Record",
    "ResultFrom",
    "RunEnded",
    "RunMigrated",
    "RunRecovered",
    "RunResumed",
    "RunStarted",
    "RunWaiting",
    "TaskCancelled",
    "TaskExpanded",
    "TaskFailed",
    "TaskLost",
    "TaskRetrying",
    "TaskSkipped",
    "TaskStarted",
    "TaskSucceeded",
    "TaskWaiting",
    "TasksSpawned",
    "decode",
    "encode",
    "trimmed",
]

#: Texts shorter than this are held in more memory than they need.
_ROOM = 4096


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


class TaskSkipped(NamedTuple):
    """The task said that there is nothing to do."""

    task: str
    attempt: int
    reason: str


class TaskExpanded(NamedTuple):
    """A mapped task is called `size` times; its task runs are named `task[0]` to `task[size - 1]`."""

    task: str
    size: int


class TaskWaiting(NamedTuple):
    """A wait begins, which no executor hears of; it ends by `TaskSucceeded`, `TaskFailed` or `TaskSkipped`.

    `due_at` is when its time is up, None: never. `detail` says what it waits for; see `waits`.
    """

    task: str
    attempt: int
    due_at: int | None
    detail: dict[str, Any]


class RunWaiting(NamedTuple):
    """Everything that is left of the run waits; until it does not any more the run is rows, and nothing in memory."""


class RunResumed(NamedTuple):
    """A wait has ended, and some task has something to do."""


class TasksSpawned(NamedTuple):
    """The task run `by` asks for task runs of `task`: a JSON array of objects, their arguments by name."""

    task: str
    by: str
    arguments: bytes


class RunMigrated(NamedTuple):
    """From here on the run goes on with `version` of its DAG, and its whole history is folded with that one."""

    version: str
    was: str
    by: str


class DependencyDecided(NamedTuple):
    """Whether the result of `upstream` fulfils the condition under which `task` waits for it.

    With an `error` it could not be told, which counts as a failure of `upstream`.
    """

    task: str
    upstream: str
    holds: bool
    error: str


class TaskCancelled(NamedTuple):
    """The attempt stopped because the run was cancelled."""

    task: str
    attempt: int


class TaskLost(NamedTuple):
    """The attempt's outcome was lost with the process; the task is ready again."""

    task: str
    attempt: int


class ResultFrom(NamedTuple):
    """Where the result of the task came from that has just succeeded as attempt 0, when it was not merely carried over.

    `how` is "cached" (made by `run` for the same code and inputs) or "edited" (written by `by` in place of `run`'s).
    """

    task: str
    how: str
    run: str
    by: str = ""


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
    | TaskSkipped
    | TaskExpanded
    | DependencyDecided
    | TasksSpawned
    | ResultFrom
    | TaskWaiting
    | RunWaiting
    | RunResumed
    | RunMigrated
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
    TaskSkipped: "task_skipped",
    TaskExpanded: "task_expanded",
    DependencyDecided: "dependency_decided",
    TasksSpawned: "tasks_spawned",
    ResultFrom: "result_from",
    TaskWaiting: "task_waiting",
    RunWaiting: "run_waiting",
    RunResumed: "run_resumed",
    RunMigrated: "run_migrated",
}
_TYPES = {name: record for record, name in _NAMES.items()}


def trimmed(text: bytes) -> bytes:
    """The same JSON text without the room that orjson left behind it: kept results would hold 4 KiB each."""
    return bytes(memoryview(text)) if len(text) < _ROOM else text


def encode(records: Sequence[Record]) -> bytes:
    """The stored form of one decision."""
    rows: list[tuple[object, ...]] = []
    for record in records:
        if type(record) is TaskSucceeded:
            rows.append(("task_succeeded", record[0], record[1], orjson.Fragment(record[2])))
        elif type(record) is TaskStarted:
            rows.append(("task_started", record[0], record[1]))
        elif type(record) is TasksSpawned:
            rows.append(("tasks_spawned", record[0], record[1], orjson.Fragment(record[2])))
        else:
            rows.append((_NAMES[type(record)], *(tuple(v) if isinstance(v, Failure) else v for v in record)))
    return orjson.dumps(rows)


def decode(body: bytes) -> list[Record]:
    """Records from their stored form."""
    return [_decode(row) for row in orjson.loads(body)]


def _decode(row: list[object]) -> Record:
    kind = _TYPES[str(row[0])]
    values = row[1:]
    if kind is TaskSucceeded or kind is TasksSpawned:
        values[2] = trimmed(orjson.dumps(values[2]))
    elif kind is TaskFailed or kind is TaskRetrying:
        values[2] = Failure(*values[2])  # type: ignore[misc]
    return kind(*values)  # type: ignore[arg-type]
