"""Whether a run can go on with another version of its DAG: what it has done must be what that version could have done.

1. A run that is moved is folded with the new version from its first record on: `RunMigrated` says when that began, the
   run's summary which version it is.
2. So a history fits a version when it folds with it to a run that goes on. Nothing is done again, nothing is forgotten.
3. Only a run of which nothing runs or waits can be moved: attempts belong to the version that began them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from tidemill.dag.definition import Dag, TaskNode
from tidemill.dag.parameters import ParameterError
from tidemill.dag.policy import TriggerRule
from tidemill.errors import InvalidTransition
from tidemill.runs.fold import apply
from tidemill.runs.records import decode
from tidemill.runs.state import FINAL_RUN_STATES, FINAL_TASK_STATES, RunPhase, RunState, TaskState

__all__ = ["misfits"]

_DONE = frozenset({TaskState.SUCCEEDED, TaskState.SKIPPED})
_BUSY = {TaskState.RUNNING: "runs", TaskState.WAITING: "waits"}

_History = Sequence[tuple[int, int, bytes]]


def misfits(old: Dag, new: Dag, parameters: bytes, history: _History) -> list[str]:
    """Everything that keeps a run of `old` with this history from going on with `new`; nothing when it can."""
    found = list(_parameter_problems(new, parameters))
    state = RunState("", old, parameters)
    try:
        _fold(state, history)
    except InvalidTransition as error:
        return [*found, f"the history does not fit the version that it was recorded with: {error}"]
    if state.phase in FINAL_RUN_STATES:
        return [*found, f"the run has ended ({state.phase})"]
    if state.cancelling:
        found.append("the run is being cancelled")
    found += _busy(state)
    found += _tasks(state, new)
    if not found and state.phase is not RunPhase.QUEUED:
        try:
            _fold(RunState("", new, parameters), history)
        except InvalidTransition as error:
            found.append(f"the new version could not have come to this: {error}")
    return found


def _fold(state: RunState, history: _History) -> None:
    for _, at, body in history:
        for record in decode(body):
            apply(state, record, at)
        state.sequence += 1


def _parameter_problems(new: Dag, parameters: bytes) -> Iterator[str]:
    try:
        new.parameters.load(parameters)
    except ParameterError as error:
        for problem in error.problems:
            yield f"parameter {problem.name!r} does not fit the new version: {problem.message}"


def _busy(state: RunState) -> Iterator[str]:
    for index, task in enumerate(state.tasks):
        if task in _BUSY and not _is_map(state, index):
            yield f"task {state.name(index)!r} {_BUSY[task]} now"


def _is_map(state: RunState, index: int) -> bool:
    """A mapped task waits for its own task runs only."""
    nodes = state.dag.tasks
    return index < len(nodes) and nodes[index].mapped is not None and state.tasks[index] is TaskState.WAITING


def _tasks(state: RunState, new: Dag) -> Iterator[str]:
    """What has begun must be there, and what it waits for in the new version must have ended."""
    old = state.dag
    for node in old.tasks:
        if not _has_begun(state, node):
            continue
        found = new.index.get(node.task_id)
        if found is None:
            yield f"task {node.task_id!r} has begun, and the new version has no such task"
            continue
        wanted = new.tasks[found]
        if (node.mapped is None) != (wanted.mapped is None):
            yield f"task {node.task_id!r} has begun, and is mapped in one of the versions only"
        yield from _unmet(state, wanted, new)


def _has_begun(state: RunState, node: TaskNode) -> bool:
    """Whether the history tells of the task: what is only folded is folded anew."""
    if state.attempts[node.index]:
        return True
    if state.tasks[node.index] is TaskState.SUCCEEDED:
        return True
    unfolding = state.unfolding
    return unfolding is not None and node.index in unfolding.maps


def _unmet(state: RunState, wanted: TaskNode, new: Dag) -> Iterator[str]:
    names: Iterable[str] = (new.tasks[above].task_id for above in wanted.upstream)
    needs_success = wanted.rule is TriggerRule.ALL_SUCCESS and not wanted.edges
    for name in names:
        known = state.dag.index.get(name)
        was = None if known is None else state.tasks[known]
        told = f"task {wanted.task_id!r} has begun, and in the new version it waits for {name!r}"
        if was is None or was not in FINAL_TASK_STATES:
            yield f"{told}, which has not ended"
        elif needs_success and was not in _DONE:
            yield f"{told}, which is {was}"
