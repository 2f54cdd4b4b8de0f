"""The fold of records into a run's state.

1. `apply` is the only function that changes a `RunState`, and it depends on nothing but the state, the record and the
   record's time.
2. Applying a record costs the tasks whose state changes, never the size of the graph.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from tidemill.runs import records, unfold
from tidemill.runs.records import Record
from tidemill.runs.state import FINAL_RUN_STATES, FINAL_TASK_STATES, RunPhase, RunState, TaskState

__all__ = ["apply", "begin", "succeed"]

#: Characters kept of the message of a task run of a map that failed.
_HEAD = 200

#: States of a run that has left the queue and not ended.
_BEGUN = frozenset({RunPhase.RUNNING, RunPhase.WAITING})


def apply(state: RunState, record: Record, at: int) -> None:
    """Change `state` by one record of its history, written at `at`.

    Raises `InvalidTransition` when the record does not fit.
    """
    _APPLY[type(record)](state, record, at)


def succeed(state: RunState, index: int, record: records.TaskSucceeded) -> None:
    """`apply` for an attempt of a plain graph that succeeded, whose task is known: the hottest change of all."""
    tasks = state.tasks
    if record.attempt != state.attempts[index] or tasks[index] is not TaskState.RUNNING:
        raise state.misfit(record, index)
    tasks[index] = TaskState.SUCCEEDED
    state.running -= 1
    state.unfinished -= 1
    state.results[index] = record.result
    remaining = state.remaining
    for below in state.dag.tasks[index].downstream:
        left = remaining[below] = remaining[below] - 1
        if not left and tasks[below] is TaskState.PENDING and not state.cancelling:
            tasks[below] = TaskState.READY
            state.ready.append(below)


def begin(state: RunState, index: int, record: records.TaskStarted) -> None:
    """`apply` for an attempt that begins, whose task is known."""
    if record.attempt != state.attempts[index] + 1 or (state.cancelling and _is_cancelled(state, index)):
        raise state.misfit(record, index)
    if state.tasks[index] is TaskState.READY and state.unfolding is None:
        state.tasks[index] = TaskState.RUNNING
        state.running += 1
    else:
        state.move(index, TaskState.RUNNING, record)
    state.attempts[index] = record.attempt
    if state.retry_at:
        state.retry_at.pop(index, None)


def _task_succeeded(state: RunState, record: records.TaskSucceeded, at: int) -> None:
    attempt = record.attempt
    index = _index(state, record)
    if attempt and state.unfolding is None:
        succeed(state, index, record)
        return
    # Attempt 0 is a result carried over by a task that was never begun; every other one was running.
    if attempt != state.attempts[index] or (state.tasks[index] is TaskState.READY) == (attempt != 0):
        raise state.misfit(record, index)
    if not attempt:
        _take_out(state, index)
    state.move(index, TaskState.SUCCEEDED, record)
    state.results[index] = record.result
    if state.unfolding is None:
        _release_downstream(state, index)
    else:
        unfold.task_ended(state, index, record)


def _task_started(state: RunState, record: records.TaskStarted, at: int) -> None:
    begin(state, _index(state, record), record)


def _task_retrying(state: RunState, record: records.TaskRetrying, at: int) -> None:
    index = _index(state, record)
    _expect_attempt(state, index, record)
    if _is_cancelled(state, index):
        raise state.misfit(record, index)
    state.move(index, TaskState.RETRYING, record)
    _keep_failure(state, index, record.failure)
    state.retry_at[index] = record.due_at


def _task_failed(state: RunState, record: records.TaskFailed, at: int) -> None:
    index = _index(state, record)
    _expect_attempt(state, index, record)
    if _is_cancelled(state, index):
        raise state.misfit(record, index)
    if state.tasks[index] is TaskState.READY:
        _take_out(state, index)
    state.move(index, TaskState.FAILED, record)
    _keep_failure(state, index, record.failure)
    state.unhappy = True
    if state.unfolding is None:
        _fail_downstream(state, index, record)
    else:
        unfold.task_ended(state, index, record)


def _task_skipped(state: RunState, record: records.TaskSkipped, at: int) -> None:
    index = _index(state, record)
    _expect_attempt(state, index, record)
    if _is_cancelled(state, index):
        raise state.misfit(record, index)
    state.move(index, TaskState.SKIPPED, record)
    if state.unfolding is None:
        _skip_downstream(state, index, record)
    else:
        unfold.task_ended(state, index, record)


def _task_expanded(state: RunState, record: records.TaskExpanded, at: int) -> None:
    index = _index(state, record)
    if state.unfolding is None or index not in state.unfolding.openings or record.size < 0:
        raise state.misfit(record)
    unfold.expand(state, index, record)


def _tasks_spawned(state: RunState, record: records.TasksSpawned, at: int) -> None:
    index = state.dag.index.get(record.task)
    if index is None or not state.dag.tasks[index].is_spawned or state.cancelling:
        raise state.misfit(record)
    if state.tasks[index] in FINAL_TASK_STATES:
        raise state.misfit(record, index)
    unfold.spawn(state, index, record)


def _dependency_decided(state: RunState, record: records.DependencyDecided, at: int) -> None:
    below, above = state.dag.index.get(record.task), state.dag.index.get(record.upstream)
    if state.unfolding is None or (below, above) not in state.unfolding.undecided:
        raise state.misfit(record)
    assert below is not None and above is not None  # noqa: S101, PT018 - it is in the list
    unfold.decide_dependency(state, (below, above), record)


def _task_cancelled(state: RunState, record: records.TaskCancelled, at: int) -> None:
    index = _index(state, record)
    _expect_attempt(state, index, record)
    if not state.cancelling or state.tasks[index] is not TaskState.RUNNING:
        raise state.misfit(record, index)
    state.move(index, TaskState.CANCELLED, record)
    if state.unfolding is not None:
        unfold.task_ended(state, index, record)


def _task_lost(state: RunState, record: records.TaskLost, at: int) -> None:
    index = _index(state, record)
    _expect_attempt(state, index, record)
    if state.tasks[index] is not TaskState.RUNNING or _is_cancelled(state, index):
        raise state.misfit(record, index)
    state.move(index, TaskState.READY, record)
    state.lost[index] = state.lost.get(index, 0) + 1
    state.ready.append(index)


def _task_waiting(state: RunState, record: records.TaskWaiting, at: int) -> None:
    index, known = _index(state, record), state.unfolding
    is_wait = index in state.dag.waits and record.attempt == state.attempts[index] + 1
    if known is None or not is_wait or state.cancelling:
        raise state.misfit(record, index)
    state.move(index, TaskState.WAITING, record)
    state.attempts[index] = record.attempt
    known.waits[index] = (record.due_at, record.detail)


def _run_waiting(state: RunState, record: records.RunWaiting, at: int) -> None:
    if state.phase is not RunPhase.RUNNING or not unfold.only_waits(state):
        raise state.misfit(record)
    state.phase = RunPhase.WAITING


def _run_resumed(state: RunState, record: records.RunResumed, at: int) -> None:
    if state.phase is not RunPhase.WAITING or unfold.only_waits(state):
        raise state.misfit(record)
    state.phase = RunPhase.RUNNING


def _run_migrated(state: RunState, record: records.RunMigrated, at: int) -> None:
    """Nothing follows: whoever folds a moved run folds all of it with the version that it was moved to."""
    if state.phase in FINAL_RUN_STATES:
        raise state.misfit(record)


def _run_started(state: RunState, record: records.RunStarted, at: int) -> None:
    if state.phase is not RunPhase.QUEUED or state.cancelling:
        raise state.misfit(record)
    state.phase = RunPhase.RUNNING
    state.started_at = at
    if state.unfolding is not None:
        unfold.start(state)
        return
    for index in state.dag.roots:
        state.move(index, TaskState.READY, record)
        state.ready.append(index)


def _run_recovered(state: RunState, record: records.RunRecovered, at: int) -> None:
    if state.phase not in _BEGUN:
        raise state.misfit(record)
    state.recoveries += 1


def _cancel_requested(state: RunState, record: records.CancelRequested, at: int) -> None:
    if state.phase in FINAL_RUN_STATES or state.cancelling:
        raise state.misfit(record)
    _cancel_waiting(state, record)
    if state.unfolding is not None:
        unfold.consider_teardowns(state, record)


def _run_ended(state: RunState, record: records.RunEnded, at: int) -> None:
    match record.state:
        case RunPhase.SUCCEEDED:
            fits = state.phase in _BEGUN and not state.unfinished and not state.has_failed
            fits = fits and not (state.cancelling and TaskState.CANCELLED in state.tasks)
        case RunPhase.CANCELLED:
            fits = state.phase not in FINAL_RUN_STATES and state.cancelling and not state.unfinished
        case RunPhase.FAILED:
            fits = state.phase in _BEGUN
        case _:
            fits = False
    if not fits:
        raise state.misfit(record)
    state.phase = RunPhase(record.state)
    state.ended_at = at
    state.reason = record.reason
    if state.unfinished:  # the run cannot go on, whatever its tasks were doing
        _cancel_waiting(state, record, running=True)


def _result_from(state: RunState, record: records.ResultFrom, at: int) -> None:
    """Says more of a result, and changes nothing."""
    index = _index(state, record)
    if state.tasks[index] is not TaskState.SUCCEEDED or state.attempts[index]:
        raise state.misfit(record, index)


#: One function per kind of record; looked up, since this is the hottest call of the engine.
_APPLY: dict[type[Record], Callable[[RunState, Any, int], None]] = {
    records.TaskSucceeded: _task_succeeded,
    records.TaskStarted: _task_started,
    records.TaskRetrying: _task_retrying,
    records.TaskFailed: _task_failed,
    records.TaskCancelled: _task_cancelled,
    records.TaskLost: _task_lost,
    records.TaskSkipped: _task_skipped,
    records.TaskExpanded: _task_expanded,
    records.DependencyDecided: _dependency_decided,
    records.TasksSpawned: _tasks_spawned,
    records.ResultFrom: _result_from,
    records.TaskWaiting: _task_waiting,
    records.RunWaiting: _run_waiting,
    records.RunResumed: _run_resumed,
    records.RunMigrated: _run_migrated,
    records.RunStarted: _run_started,
    records.RunRecovered: _run_recovered,
    records.CancelRequested: _cancel_requested,
    records.RunEnded: _run_ended,
}


def _index(state: RunState, record: Any) -> int:
    try:
        return state.dag.index[record.task]
    except KeyError:
        pass
    try:
        return state.index_of(record.task)
    except KeyError:
        raise state.misfit(record) from None


def _expect_attempt(state: RunState, index: int, record: Any) -> None:
    """What a record tells of an attempt, it tells of the latest one."""
    if record.attempt != state.attempts[index]:
        raise state.misfit(record, index)


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
            state.move(below, TaskState.UPSTREAM_FAILED, record)
            stack.extend(state.dag.tasks[below].downstream)


def _skip_downstream(state: RunState, index: int, record: Record) -> None:
    stack = list(state.dag.tasks[index].downstream)
    while stack:
        below = stack.pop()
        if state.tasks[below] is TaskState.PENDING:
            state.move(below, TaskState.SKIPPED, record)
            stack.extend(state.dag.tasks[below].downstream)


def _keep_failure(state: RunState, index: int, failure: records.Failure) -> None:
    """Of task runs of maps only the head: there may be a hundred thousand, and the history has the rest."""
    if index >= len(state.dag.tasks):
        failure = records.Failure(failure.error_type, failure.message[:_HEAD])
    state.errors[index] = failure


def _take_out(state: RunState, index: int) -> None:
    """A ready task ends without an attempt."""
    if state.unfolding is not None and index in state.unfolding.openings:
        state.unfolding.openings.remove(index)
    elif index in state.ready:  # else it waits for a slot already
        state.ready.remove(index)


def _is_cancelled(state: RunState, index: int) -> bool:
    """Whether the task does not go on because the run is cancelled: what cleans up does."""
    return state.cancelling and not state.node(index).is_teardown


def _cancel_waiting(state: RunState, record: Record, *, running: bool = False) -> None:
    """Everything that does not run is cancelled at once; what runs is asked to stop, or was lost."""
    kept = set() if running else unfold.kept_teardowns(state)
    state.cancelling = True
    for index, task in enumerate(state.tasks):
        if task in FINAL_TASK_STATES or index in kept:
            continue
        if running or task is not TaskState.RUNNING:
            state.move(index, TaskState.CANCELLED, record)
    state.ready = deque(index for index in state.ready if index in kept)
    for index in [index for index in state.retry_at if index not in kept]:
        del state.retry_at[index]
    if state.unfolding is not None:
        state.unfolding.openings.clear()
        state.unfolding.undecided.clear()
        state.unfolding.waits.clear()
