"""What a run does next: something happened, these are the records that follow from it.

Each function takes the state and what happened, appends the records to `into` after applying them, and does nothing
else. The caller writes the records, and carries out what they say only when they are on disk: a `TaskStarted` is a
command to begin that attempt, a `TaskRetrying` one to wake up at `due_at`, a `RunEnded` one to let go of the run.
"""

from __future__ import annotations

import math

from tidemill.runs.output import output_problem
from tidemill.runs.records import (
    CancelRequested,
    Failure,
    Record,
    RunEnded,
    RunRecovered,
    RunStarted,
    TaskCancelled,
    TaskFailed,
    TaskLost,
    TaskRetrying,
    TaskStarted,
    TaskSucceeded,
)
from tidemill.runs.state import FINAL_RUN_STATES, RunPhase, RunState, TaskState, apply

__all__ = [
    "abandon",
    "attempt_cancelled",
    "attempt_failed",
    "attempt_succeeded",
    "cancel",
    "lose_attempts",
    "recover",
    "refuse",
    "start",
    "start_task",
]

#: Longest delay a task may ask for, in seconds (ten years): beyond lies what no clock can carry.
_MAX_DELAY = 315_360_000.0


def start(state: RunState, at: int, into: list[Record], *, carried: dict[str, bytes] | None = None) -> None:
    """The run leaves the queue. `carried` are results that an earlier run of the same work already has."""
    _add(state, RunStarted(), at, into)
    if carried:
        for node in state.dag.tasks:
            if node.task_id in carried and state.tasks[node.index] is TaskState.READY:
                _add(state, TaskSucceeded(node.task_id, 0, carried[node.task_id]), at, into)
    _end_if_done(state, at, into)


def start_task(state: RunState, index: int, at: int, into: list[Record]) -> int | None:
    """A slot is free for a ready or retrying task: its next attempt's number, None when it may not start now."""
    if state.cancelling or state.tasks[index] not in (TaskState.READY, TaskState.RETRYING):
        return None
    number = state.attempts[index] + 1
    record = TaskStarted(state.dag.tasks[index].task_id, number)
    apply(state, record, at)
    into.append(record)
    return number


def attempt_succeeded(state: RunState, index: int, result: bytes, at: int, into: list[Record]) -> None:
    """An attempt returned."""
    record = TaskSucceeded(state.dag.tasks[index].task_id, state.attempts[index], result)
    apply(state, record, at)
    into.append(record)
    if not state.unfinished:
        _end_if_done(state, at, into)


def attempt_failed(
    state: RunState,
    index: int,
    failure: Failure,
    at: int,
    into: list[Record],
    *,
    chance: float = 0.5,
    permanent: bool = False,
    retry_after: float | None = None,
) -> int | None:
    """An attempt raised or timed out; returns when the next one is due, None when there is none.

    `chance` in [0, 1) spreads retries; `retry_after` seconds is the task's own wish, as far as it is a time.
    """
    node = state.dag.tasks[index]
    attempt = state.attempts[index]
    if state.cancelling:
        _add(state, TaskCancelled(node.task_id, attempt), at, into)
        _end_if_done(state, at, into)
        return None
    delay = None if permanent else node.retry.delay_after(attempt - state.lost.get(index, 0), chance)
    if delay is None:
        _add(state, TaskFailed(node.task_id, attempt, failure), at, into)
        _end_if_done(state, at, into)
        return None
    due_at = at + math.ceil(_wished(delay, retry_after) * 1_000_000)
    _add(state, TaskRetrying(node.task_id, attempt, failure, due_at), at, into)
    return due_at


def attempt_cancelled(state: RunState, index: int, at: int, into: list[Record]) -> None:
    """An attempt stopped because it was asked to."""
    _add(state, TaskCancelled(state.dag.tasks[index].task_id, state.attempts[index]), at, into)
    _end_if_done(state, at, into)


def cancel(state: RunState, by: str, at: int, into: list[Record]) -> list[int]:
    """Somebody asks to cancel: the tasks that must be stopped now."""
    if state.cancelling or state.phase in FINAL_RUN_STATES:
        return []
    _add(state, CancelRequested(by), at, into)
    _end_if_done(state, at, into)
    return [index for index, task in enumerate(state.tasks) if task is TaskState.RUNNING]


def recover(state: RunState, at: int, into: list[Record], *, max_recoveries: int) -> None:
    """The process that ran this run died: attempts that were running are lost and become ready again.

    A run that was being worked on in more than `max_recoveries` deaths is failed instead: it may be the killer.
    """
    lost = [index for index, task in enumerate(state.tasks) if task is TaskState.RUNNING]
    if not lost:
        return
    _add(state, RunRecovered(), at, into)
    reason = f"quarantined: the process died {state.recoveries} times while this run was running"
    is_suspect = state.recoveries > max_recoveries and not state.cancelling
    for index in lost:
        task, attempt = state.dag.tasks[index].task_id, state.attempts[index]
        if state.cancelling:
            _add(state, TaskCancelled(task, attempt), at, into)
        elif is_suspect:
            _add(state, TaskFailed(task, attempt, Failure("Quarantined", reason)), at, into)
        else:
            _add(state, TaskLost(task, attempt), at, into)
    if is_suspect:
        abandon(state, reason, at, into)
    else:
        _end_if_done(state, at, into)


def lose_attempts(state: RunState, at: int, into: list[Record]) -> None:
    """Attempts were cut off by a process that stops, or gave the run to another one: they become ready again.

    Unlike `recover` this counts as nobody's death.
    """
    for index, task in enumerate(state.tasks):
        if task is TaskState.RUNNING:
            lost = TaskCancelled if state.cancelling else TaskLost
            _add(state, lost(state.dag.tasks[index].task_id, state.attempts[index]), at, into)
    _end_if_done(state, at, into)


def refuse(state: RunState, reason: str, at: int, into: list[Record]) -> None:
    """A queued run cannot start."""
    _add(state, RunStarted(), at, into)
    abandon(state, reason, at, into)


def abandon(state: RunState, reason: str, at: int, into: list[Record]) -> None:
    """The run cannot go on, whatever its tasks are doing: those that have not ended are cancelled with it."""
    reason = reason.encode("utf-8", "backslashreplace").decode()  # lone surrogates cannot be stored
    _add(state, RunEnded(RunPhase.FAILED, reason), at, into)


def _add(state: RunState, record: Record, at: int, into: list[Record]) -> None:
    apply(state, record, at)
    into.append(record)


def _end_if_done(state: RunState, at: int, into: list[Record]) -> None:
    if state.unfinished or state.phase in FINAL_RUN_STATES:
        return
    if state.unhappy:
        ended = RunEnded(RunPhase.FAILED, "")
    elif state.cancelling and (state.phase is RunPhase.QUEUED or TaskState.CANCELLED in state.tasks):
        ended = RunEnded(RunPhase.CANCELLED, "")
    elif (problem := output_problem(state)) is not None:
        abandon(state, problem, at, into)
        return
    else:
        ended = RunEnded(RunPhase.SUCCEEDED, "")
    _add(state, ended, at, into)


def _wished(delay: float, retry_after: float | None) -> float:
    if retry_after is None or math.isnan(retry_after):
        return min(delay, _MAX_DELAY)
    return min(max(0.0, retry_after), _MAX_DELAY)
