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
from collections.abc import Callable
from enum import StrEnum
from typing import Any

from tidemill.dag.definition import Dag, TaskNode
from tidemill.errors import InvalidTransition
from tidemill.runs import records
from tidemill.runs.records import Record

__all__ = [
    "FINAL_RUN_STATES",
    "FINAL_TASK_STATES",
    "TASK_TRANSITIONS",
    "RunPhase",
    "RunState",
    "TaskState",
    "apply",
]


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

#: States of a run that has left the queue and not ended.
_BEGUN = frozenset({RunPhase.RUNNING, RunPhase.WAITING})

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
        "parameters",
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

    def __init__(self, run_id: str, dag: Dag, parameters: bytes = b"{}") -> None:
        self.run_id = run_id
        self.dag = dag
        #: JSON text; what the DAG returns may refer to them.
        self.parameters = parameters
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
        #: Tasks that became ready, in that order, until somebody takes them out to let them wait for a slot.
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

    def node(self, index: int) -> TaskNode:
        """The node whose task run this is."""
        return self.dag.tasks[index]

    def name(self, index: int) -> str:
        """The name of a task run in histories."""
        return self.dag.tasks[index].task_id


def apply(state: RunState, record: Record, at: int) -> None:
    """Change `state` by one record of its history, written at `at`.

    Raises `InvalidTransition` when the record does not fit.
    """
    _APPLY[type(record)](state, record, at)


def _task_succeeded(state: RunState, record: records.TaskSucceeded, at: int) -> None:
    index = _index(state, record)
    # Attempt 0 is a result carried over by a task that was never begun; every other one was running.
    attempt = record.attempt
    if attempt != state.attempts[index] or (state.tasks[index] is TaskState.READY) == (attempt != 0):
        raise _misfit(state, record, index)
    if not attempt:
        state.ready.remove(index)
    _move(state, index, TaskState.SUCCEEDED, record)
    state.results[index] = record.result
    _release_downstream(state, index)


def _task_started(state: RunState, record: records.TaskStarted, at: int) -> None:
    index = _index(state, record)
    if record.attempt != state.attempts[index] + 1 or state.cancelling:
        raise _misfit(state, record, index)
    _move(state, index, TaskState.RUNNING, record)
    state.attempts[index] = record.attempt
    if state.retry_at:
        state.retry_at.pop(index, None)


def _task_retrying(state: RunState, record: records.TaskRetrying, at: int) -> None:
    index = _index(state, record)
    _expect_attempt(state, index, record)
    if state.cancelling:
        raise _misfit(state, record, index)
    _move(state, index, TaskState.RETRYING, record)
    state.errors[index] = record.failure
    state.retry_at[index] = record.due_at


def _task_failed(state: RunState, record: records.TaskFailed, at: int) -> None:
    index = _index(state, record)
    _expect_attempt(state, index, record)
    if state.cancelling:
        raise _misfit(state, record, index)
    _move(state, index, TaskState.FAILED, record)
    state.errors[index] = record.failure
    state.unhappy = True
    _fail_downstream(state, index, record)


def _task_cancelled(state: RunState, record: records.TaskCancelled, at: int) -> None:
    index = _index(state, record)
    _expect_attempt(state, index, record)
    if not state.cancelling or state.tasks[index] is not TaskState.RUNNING:
        raise _misfit(state, record, index)
    _move(state, index, TaskState.CANCELLED, record)


def _task_lost(state: RunState, record: records.TaskLost, at: int) -> None:
    index = _index(state, record)
    _expect_attempt(state, index, record)
    if state.tasks[index] is not TaskState.RUNNING or state.cancelling:
        raise _misfit(state, record, index)
    _move(state, index, TaskState.READY, record)
    state.lost[index] = state.lost.get(index, 0) + 1
    state.ready.append(index)


def _run_started(state: RunState, record: records.RunStarted, at: int) -> None:
    if state.phase is not RunPhase.QUEUED or state.cancelling:
        raise _misfit(state, record)
    state.phase = RunPhase.RUNNING
    state.started_at = at
    for index in state.dag.roots:
        _move(state, index, TaskState.READY, record)
        state.ready.append(index)


def _run_recovered(state: RunState, record: records.RunRecovered, at: int) -> None:
    if state.phase not in _BEGUN:
        raise _misfit(state, record)
    state.recoveries += 1


def _cancel_requested(state: RunState, record: records.CancelRequested, at: int) -> None:
    if state.phase in FINAL_RUN_STATES or state.cancelling:
        raise _misfit(state, record)
    _cancel_waiting(state, record)


def _run_ended(state: RunState, record: records.RunEnded, at: int) -> None:
    match record.state:
        case RunPhase.SUCCEEDED:
            fits = state.phase in _BEGUN and not state.unfinished and not state.unhappy
            fits = fits and not (state.cancelling and TaskState.CANCELLED in state.tasks)
        case RunPhase.CANCELLED:
            fits = state.phase not in FINAL_RUN_STATES and state.cancelling and not state.unfinished
        case RunPhase.FAILED:
            fits = state.phase in _BEGUN
        case _:
            fits = False
    if not fits:
        raise _misfit(state, record)
    state.phase = RunPhase(record.state)
    state.ended_at = at
    state.reason = record.reason
    if state.unfinished:  # the run cannot go on, whatever its tasks were doing
        _cancel_waiting(state, record, running=True)


#: One function per kind of record; looked up, since this is the hottest call of the engine.
_APPLY: dict[type[Record], Callable[[RunState, Any, int], None]] = {
    records.TaskSucceeded: _task_succeeded,
    records.TaskStarted: _task_started,
    records.TaskRetrying: _task_retrying,
    records.TaskFailed: _task_failed,
    records.TaskCancelled: _task_cancelled,
    records.TaskLost: _task_lost,
    records.RunStarted: _run_started,
    records.RunRecovered: _run_recovered,
    records.CancelRequested: _cancel_requested,
    records.RunEnded: _run_ended,
}


def _index(state: RunState, record: Any) -> int:
    try:
        return state.dag.index[record.task]
    except KeyError:
        raise _misfit(state, record) from None


def _expect_attempt(state: RunState, index: int, record: Any) -> None:
    """What a record tells of an attempt, it tells of the latest one."""
    if record.attempt != state.attempts[index]:
        raise _misfit(state, record, index)


def _misfit(state: RunState, record: Record, index: int | None = None) -> InvalidTransition:
    """The record names what it is about and not what it carries: results are nobody's business here."""
    task, attempt = getattr(record, "task", None), getattr(record, "attempt", None)
    name = type(record).__name__ + ("" if task is None else f" of task {task!r}, attempt {attempt}")
    now = str(state.phase) + (", cancelling" if state.cancelling else "")
    if index is not None:
        now = f"{state.tasks[index]} of attempt {state.attempts[index]} ({now})"
    return InvalidTransition(state.run_id, name, now)


def _move(state: RunState, index: int, to: TaskState, record: Record) -> None:
    now = state.tasks[index]
    if to not in TASK_TRANSITIONS[now]:
        raise _misfit(state, record, index)
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
        left = remaining[below] = remaining[below] - 1
        if not left and tasks[below] is TaskState.PENDING and not state.cancelling:
            tasks[below] = TaskState.READY
            state.ready.append(below)


def _fail_downstream(state: RunState, index: int, record: Record) -> None:
    stack = list(state.dag.tasks[index].downstream)
    while stack:
        below = stack.pop()
        if state.tasks[below] is TaskState.PENDING:
            _move(state, below, TaskState.UPSTREAM_FAILED, record)
            stack.extend(state.dag.tasks[below].downstream)


def _cancel_waiting(state: RunState, record: Record, *, running: bool = False) -> None:
    """Everything that does not run is cancelled at once; what runs is asked to stop, or was lost."""
    state.cancelling = True
    for index, task in enumerate(state.tasks):
        if task not in FINAL_TASK_STATES and (running or task is not TaskState.RUNNING):
            _move(state, index, TaskState.CANCELLED, record)
    state.ready.clear()
    state.retry_at.clear()
