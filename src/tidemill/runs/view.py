"""A run's tasks as people see them, folded from the history alone (no definition needed beyond its task ids)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import orjson

from tidemill.dag.definition import Dag
from tidemill.runs import records
from tidemill.runs.records import decode
from tidemill.runs.state import FINAL_RUN_STATES, FINAL_TASK_STATES, RunPhase, TaskState

__all__ = ["TaskView", "decode_graph", "encode_graph", "task_views"]


@dataclass(slots=True)
class TaskView:
    """One task run."""

    task_id: str
    state: TaskState = TaskState.PENDING
    attempts: int = 0
    started_at: int | None = None
    ended_at: int | None = None
    error: records.Failure | None = None
    #: JSON text, once succeeded.
    result: bytes | None = None
    #: When the next attempt is due, while retrying.
    retry_at: int | None = None


def encode_graph(dag: Dag) -> bytes:
    """The graph of a version as it is kept with it: (task id, ids it waits for), in topological order."""
    return orjson.dumps(
        [(node.task_id, [dag.tasks[above].task_id for above in node.upstream]) for node in dag.tasks]
    )


def decode_graph(graph: bytes) -> dict[str, list[str]]:
    """Task id → ids it waits for, in topological order."""
    return dict(orjson.loads(graph))


def task_views(
    upstream: Mapping[str, Sequence[str]], history: Iterable[tuple[int, int, bytes]]
) -> list[TaskView]:
    """The tasks of a run in the order of `upstream` (task id → ids it waits for), from its history rows.

    Tasks that became ready or can no longer run are told from their upstream tasks.
    """
    views = {task_id: TaskView(task_id) for task_id in upstream}
    phase, cancelling = RunPhase.QUEUED, False
    for _, at, body in history:
        for record in decode(body):
            match record:
                case records.RunStarted():
                    phase = RunPhase.RUNNING
                case records.RunEnded():
                    phase = RunPhase(record.state)
                case records.CancelRequested():
                    cancelling = True
                case records.RunRecovered():
                    pass
                case _:
                    _change(views[record.task], record, at)
    for task_id, view in views.items():
        _derive(view, [views[above] for above in upstream[task_id]], phase, cancelling)
    return list(views.values())


def _change(view: TaskView, record: records.Record, at: int) -> None:
    match record:
        case records.TaskStarted():
            view.state, view.attempts, view.retry_at = TaskState.RUNNING, record.attempt, None
            view.started_at = view.started_at or at
        case records.TaskSucceeded():
            view.state, view.result, view.ended_at, view.error = TaskState.SUCCEEDED, record.result, at, None
        case records.TaskRetrying():
            view.state, view.error, view.retry_at = TaskState.RETRYING, record.failure, record.due_at
        case records.TaskFailed():
            view.state, view.error, view.ended_at = TaskState.FAILED, record.failure, at
        case records.TaskCancelled():
            view.state, view.ended_at = TaskState.CANCELLED, at
        case records.TaskLost():
            view.state = TaskState.READY
        case _:
            pass


def _derive(view: TaskView, above: Sequence[TaskView], phase: RunPhase, cancelling: bool) -> None:
    has_ended = phase in FINAL_RUN_STATES
    if view.state in FINAL_TASK_STATES or (view.state is TaskState.RUNNING and not has_ended):
        return
    if any(task.state in (TaskState.FAILED, TaskState.UPSTREAM_FAILED) for task in above):
        view.state = TaskState.UPSTREAM_FAILED
    elif cancelling or has_ended:
        view.state, view.retry_at = TaskState.CANCELLED, None
    elif (
        view.state is TaskState.PENDING
        and phase is RunPhase.RUNNING
        and all(task.state is TaskState.SUCCEEDED for task in above)
    ):
        view.state = TaskState.READY
