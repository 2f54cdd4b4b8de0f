"""A run's tasks as people see them, folded from the history and the kept graph alone: the user's code is not needed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tidemill.dag.definition import Dag
from tidemill.errors import InvalidTransition
from tidemill.runs import records
from tidemill.runs.fold import apply
from tidemill.runs.graph_text import decode_graph, encode_graph
from tidemill.runs.records import decode
from tidemill.runs.state import RunPhase, RunState, TaskState

__all__ = ["MapView", "TaskView", "decode_graph", "encode_graph", "reason_of", "task_views"]

#: Task runs of maps that are listed one by one.
MOST_TASK_RUNS = 1000


@dataclass(frozen=True, slots=True)
class MapView:
    """How far the task runs of a mapped task are."""

    total: int
    done: int
    succeeded: int
    failed: int
    skipped: int


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
    #: When its time is up and what it waits for, while it waits.
    wait: tuple[int | None, Mapping[str, Any]] | None = None
    #: Of a mapped task whose task runs are known.
    map: MapView | None = None
    #: How it came by its result without an attempt: "carried", "edited" or "cached"; empty when it was called.
    reused: str = ""
    #: The run that the result came from, and who edited it, where the history says so.
    reused_from: str = ""
    edited_by: str = ""


def task_views(
    dag: Dag, history: Iterable[tuple[int, int, bytes]], *, most_task_runs: int = MOST_TASK_RUNS
) -> list[TaskView]:
    """The tasks of a run in the DAG's order, each mapped one followed by its first task runs.

    `dag` is the version that the run began with, or `decode_graph` of what is kept of it. A history that does not fit
    is shown as far as it does.
    """
    state = RunState("", dag)
    views = {node.task_id: TaskView(node.task_id) for node in dag.tasks}
    for _, at, body in history:
        for record in decode(body):
            try:
                apply(state, record, at)
            except InvalidTransition:
                return _finished(state, views, most_task_runs)
            if isinstance(record, records.DependencyDecided):
                continue
            name = getattr(record, "task", None)
            if name is not None:
                view = views.get(name)
                if view is None:
                    view = views[name] = TaskView(name)
                _change(view, record, at)
    return _finished(state, views, most_task_runs)


def reason_of(history: Sequence[tuple[int, int, bytes]]) -> str | None:
    """Why a run ended as it did, where that was no task's doing."""
    for record in decode(history[-1][2]) if history else ():
        if isinstance(record, records.RunEnded):
            return record.reason or None
    return None


def _finished(state: RunState, views: dict[str, TaskView], most: int) -> list[TaskView]:
    found: list[TaskView] = []
    left = most
    for node in state.dag.tasks:
        view = views[node.task_id]
        _complete(view, state, node.index)
        found.append(view)
        runs = state.unfolding.maps.get(node.index) if state.unfolding is not None else None
        if runs is None:
            continue
        view.map = MapView(runs.total, runs.done, runs.succeeded, runs.failed, runs.skipped)
        if view.state is TaskState.WAITING:
            view.state = TaskState.RUNNING  # it waits for nothing but its own task runs
        for place in range(min(runs.total, left)):
            name = f"{node.task_id}[{place}]"
            one = views.get(name) or TaskView(name)
            _complete(one, state, runs.index_at(place))
            found.append(one)
        left = max(0, left - runs.total)
    return found


def _complete(view: TaskView, state: RunState, index: int) -> None:
    """What is folded and not recorded."""
    if state.phase is RunPhase.QUEUED and not state.cancelling:
        return
    view.state = state.tasks[index]
    if view.state is not TaskState.RETRYING:
        view.retry_at = None
    if view.state is not TaskState.WAITING:
        view.wait = None
    if view.result is None and view.state is TaskState.SUCCEEDED:
        view.result = state.results.get(index)
    if view.error is None and view.state in (TaskState.FAILED, TaskState.UPSTREAM_FAILED):
        view.error = state.errors.get(index)


def _change(view: TaskView, record: records.Record, at: int) -> None:
    match record:
        case records.TaskStarted():
            view.attempts, view.started_at = record.attempt, view.started_at or at
        case records.TaskSucceeded():
            view.result, view.ended_at, view.error = record.result, at, None
            view.reused = "" if record.attempt else "carried"
        case records.ResultFrom():
            view.reused, view.reused_from, view.edited_by = record.how, record.run, record.by
        case records.TaskRetrying():
            view.error, view.retry_at = record.failure, record.due_at
        case records.TaskFailed():
            view.error, view.ended_at = record.failure, at
        case records.TaskSkipped():
            view.ended_at = at
            view.error = records.Failure("Skip", record.reason) if record.reason else None
        case records.TaskExpanded():
            view.started_at = at
        case records.TaskWaiting():
            view.started_at, view.attempts, view.wait = at, record.attempt, (record.due_at, record.detail)
        case records.TaskCancelled():
            view.ended_at = at
        case _:
            pass
