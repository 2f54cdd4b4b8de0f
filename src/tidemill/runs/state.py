"""The states of runs and task runs, and the fold of records into a run's state.

1. A run's state is a fold of its history: `apply` is the only function that changes a `RunState`, and it depends
   on nothing but the state, the record and the record's time.
2. Every change of a task's state goes through `TASK_TRANSITIONS`; what is not in the table is `InvalidTransition`.
3. What follows necessarily from a record is not recorded but folded: a task becomes `ready` when its last upstream
   task succeeds, and `upstream_failed` when an upstream task can no longer succeed.
4. Applying a record costs the tasks whose state changes, never the size of the graph.
"""

from __future__ import annotations

from collections import deque
from enum import StrEnum
from typing import assert_never

from tidemill.dag.definition import Dag
from tidemill.errors import InvalidTransition
from tidemill.runs import records
from tidemill.runs.records import Record

__all__ = ["FINAL_RUN_STATES", "FINAL_TASK_STATES", "TASK_TRANSITIONS", "RunPhase", "RunState", "TaskState", "apply"]


class RunPhase(StrEnum):
    """States of a run."""

    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class TaskState(StrEnum):
    """States of a task run."""

    PENDING = "pending"
    READY = "ready"
    RUNNING = "running"
    RETRYING = "retrying"
    WAITING = "waiting"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"
    UPSTREAM_FAILED = "upstream_failed"


FINAL_RUN_STATES = frozenset({RunPhase.SUCCEEDED, RunPhase.FAILED, RunPhase.CANCELLED})
FINAL_TASK_STATES = frozenset(
    {
        TaskState.SUCCEEDED,
        TaskState.FAILED,
        TaskState.CANCELLED,
        TaskState.SKIPPED,
        TaskState.UPSTREAM_FAILED,
    }
)

TASK_TRANSITIONS: dict[TaskState, frozenset[TaskState]] = {
    TaskState.PENDING: frozenset({TaskState.READY, TaskState.UPSTREAM_FAILED, TaskState.CANCELLED}),
    TaskState.READY: frozenset({TaskState.RUNNING, TaskState.CANCELLED, TaskState.SUCCEEDED}),
    TaskState.RUNNING: frozenset(
        {TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED, TaskState.RETRYING, TaskState.READY}
    ),
    TaskState.RETRYING: frozenset({TaskState.RUNNING, TaskState.CANCELLED}),
    TaskState.WAITING: frozenset({TaskState.RUNNING, TaskState.CANCELLED}),
    TaskState.SUCCEEDED: frozenset(),
    TaskState.FAILED: frozenset(),
    TaskState.CANCELLED: frozenset(),
    TaskState.SKIPPED: frozenset(),
    TaskState.UPSTREAM_FAILED: frozenset(),
}


class RunState:
    """The state of one run. Changed by `apply` only."""

    __slots__ = (
        "attempts",
        "cancelling",
        "dag",
        "ended_at",
        "errors",
        "lost",
        "phase",
        "ready",
        "reason",
        "recoveries",
        "remaining",
        "results",
        "retry_at",
        "run_id",
        "running",
        "sequence",
        "started_at",
        "tasks",
        "unfinished",
        "unhappy",
    )

    def __init__(self, run_id: str, dag: Dag) -> None:
        self.run_id = run_id
        self.dag = dag
        self.phase = RunPhase.QUEUED
        #: Number of the next history row.
        self.sequence = 0
        self.started_at: int | None = None
        self.ended_at: int | None = None
        self.reason = ""
        self.cancelling = False
        self.recoveries = 0
        self.tasks = [TaskState.PENDING] * len(dag.tasks)
        #: Attempts begun per task.
        self.attempts = [0] * len(dag.tasks)
        #: Attempts per task whose outcome was lost with the process; they do not count against `max_attempts`.
        self.lost: dict[int, int] = {}
        #: Upstream tasks per task that have not succeeded yet.
        self.remaining = [len(node.upstream) for node in dag.tasks]
        #: Tasks that may start, in the order in which they became ready.
        self.ready: deque[int] = deque()
        #: Results as JSON text.
        self.results: dict[int, bytes] = {}
        #: Error type, message and traceback of failed tasks.
        self.errors: dict[int, records.Failure] = {}
        #: When tasks in `retrying` are due.
        self.retry_at: dict[int, int] = {}
        self.running = 0
        self.unfinished = len(dag.tasks)
        #: True when some task failed.
        self.unhappy = False


def apply(state: RunState, record: Record, at: int) -> None:
    """Change `state` by one record of its history, written at `at`.

    Raises `InvalidTransition` when the record does not fit.
    """
    match record:
        case records.TaskSucceeded():
            index = _index(state, record.task)
            _move(state, index, TaskState.SUCCEEDED, record)
            state.results[index] = record.result
            _release_downstream(state, index)
        case records.TaskStarted():
            index = _index(state, record.task)
            if record.attempt != state.attempts[index] + 1:
                raise InvalidTransition(state.run_id, str(record), f"attempt {state.attempts[index]}")
            _move(state, index, TaskState.RUNNING, record)
            state.attempts[index] = record.attempt
            state.retry_at.pop(index, None)
        case records.TaskRetrying():
            index = _index(state, record.task)
            _move(state, index, TaskState.RETRYING, record)
            state.errors[index] = record.failure
            state.retry_at[index] = record.due_at
        case records.TaskFailed():
            index = _index(state, record.task)
            _move(state, index, TaskState.FAILED, record)
            state.errors[index] = record.failure
            state.unhappy = True
            _fail_downstream(state, index, record)
        case records.TaskCancelled():
            _move(state, _index(state, record.task), TaskState.CANCELLED, record)
        case records.TaskLost():
            index = _index(state, record.task)
            _move(state, index, TaskState.READY, record)
            state.lost[index] = state.lost.get(index, 0) + 1
            state.ready.append(index)
        case records.RunStarted():
            _enter(state, RunPhase.RUNNING, (RunPhase.QUEUED,), record)
            state.started_at = at
            for index in state.dag.roots:
                _move(state, index, TaskState.READY, record)
                state.ready.append(index)
        case records.RunRecovered():
            state.recoveries += 1
        case records.CancelRequested():
            _cancel_waiting(state, record)
        case records.RunEnded():
            allowed = (
                (RunPhase.RUNNING, RunPhase.WAITING)
                if record.state != RunPhase.CANCELLED
                else (RunPhase.QUEUED, RunPhase.RUNNING, RunPhase.WAITING)
            )
            _enter(state, RunPhase(record.state), allowed, record)
            state.ended_at = at
            state.reason = record.reason
        case _:
            assert_never(record)


def _index(state: RunState, task: str) -> int:
    return state.dag.index[task]


def _enter(state: RunState, phase: RunPhase, allowed: tuple[RunPhase, ...], record: Record) -> None:
    if state.phase not in allowed:
        raise InvalidTransition(state.run_id, str(record), state.phase)
    state.phase = phase


def _move(state: RunState, index: int, to: TaskState, record: Record) -> None:
    now = state.tasks[index]
    if to not in TASK_TRANSITIONS[now]:
        raise InvalidTransition(state.run_id, str(record), f"{now} of task {state.dag.tasks[index].task_id}")
    state.tasks[index] = to
    if now is TaskState.RUNNING:
        state.running -= 1
    elif to is TaskState.RUNNING:
        state.running += 1
    if to in FINAL_TASK_STATES:
        state.unfinished -= 1


def _release_downstream(state: RunState, index: int) -> None:
    remaining, tasks = state.remaining, state.tasks
    for below in state.dag.tasks[index].downstream:
        remaining[below] -= 1
        if not remaining[below] and tasks[below] is TaskState.PENDING and not state.cancelling:
            tasks[below] = TaskState.READY
            state.ready.append(below)


def _fail_downstream(state: RunState, index: int, record: Record) -> None:
    stack = list(state.dag.tasks[index].downstream)
    while stack:
        below = stack.pop()
        if state.tasks[below] is TaskState.PENDING:
            _move(state, below, TaskState.UPSTREAM_FAILED, record)
            stack.extend(state.dag.tasks[below].downstream)


def _cancel_waiting(state: RunState, record: Record) -> None:
    """Everything that does not run is cancelled at once; what runs is asked to stop."""
    state.cancelling = True
    for index, task in enumerate(state.tasks):
        if task not in FINAL_TASK_STATES and task is not TaskState.RUNNING:
            _move(state, index, TaskState.CANCELLED, record)
    state.ready.clear()
    state.retry_at.clear()
