"""What a run does next: something happened, these are the records that follow from it.

Each function takes the state and what happened, appends the records to `into` after applying them, and does nothing
else. The caller writes the records, and carries out what they say only when they are on disk: a `TaskStarted` is a
command to begin that attempt, a `TaskRetrying` one to wake up at `due_at`, a `RunEnded` one to let go of the run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from tidemill.dag.definition import NodeKind, TaskNode
from tidemill.runs import unfold
from tidemill.runs.conditions import holds
from tidemill.runs.fold import apply, begin, succeed
from tidemill.runs.output import output_problem
from tidemill.runs.records import (
    CancelRequested,
    DependencyDecided,
    Failure,
    Record,
    ResultFrom,
    RunEnded,
    RunRecovered,
    RunResumed,
    RunStarted,
    RunWaiting,
    TaskCancelled,
    TaskExpanded,
    TaskFailed,
    TaskLost,
    TaskRetrying,
    TaskSkipped,
    TasksSpawned,
    TaskStarted,
    TaskSucceeded,
    TaskWaiting,
)
from tidemill.runs.reuse import How, Reused
from tidemill.runs.state import FINAL_RUN_STATES, RunPhase, RunState, TaskState
from tidemill.runs.waits import Begun, Ended, Skipped

__all__ = [
    "abandon",
    "attempt_cancelled",
    "attempt_failed",
    "attempt_skipped",
    "attempt_succeeded",
    "begin_wait",
    "cancel",
    "end_wait",
    "expand",
    "give",
    "lose_attempts",
    "recover",
    "refuse",
    "start",
    "start_task",
    "start_timed_out",
]

#: Longest delay a task may ask for, in seconds (ten years): beyond lies what no clock can carry.
_MAX_DELAY = 315_360_000.0


def start(state: RunState, at: int, into: list[Record]) -> None:
    """The run leaves the queue."""
    _add(state, RunStarted(), at, into)
    _follow(state, at, into)


def give(state: RunState, index: int, found: Reused, at: int, into: list[Record]) -> bool:
    """A ready task that was taken out of `RunState.ready` has a result without being called.

    False when it may not have it any more: it began once, or the run is being cancelled.
    """
    if state.tasks[index] is not TaskState.READY or state.attempts[index] or state.cancelling:
        return False
    node = state.node(index)
    if node.kind is NodeKind.BRANCH and unfold.branch_problem(node, found.result, _names_below(state, node)):
        return False  # the graph is another one now; the task says anew which tasks go on
    state.ready.appendleft(index)  # whoever succeeds without an attempt takes it out
    name = state.name(index)
    _add(state, TaskSucceeded(name, 0, found.result), at, into)
    if found.how is not How.CARRIED:
        _add(state, ResultFrom(name, found.how.value, found.run, found.by), at, into)
    _follow(state, at, into)
    return True


def start_task(state: RunState, index: int, at: int, into: list[Record]) -> int | None:
    """A slot is free for a ready or retrying task: its next attempt's number, None when it may not start now."""
    if state.tasks[index] not in (TaskState.READY, TaskState.RETRYING):
        return None
    if state.cancelling and not state.node(index).is_teardown:
        return None
    number = state.attempts[index] + 1
    record = TaskStarted(state.name(index), number)
    begin(state, index, record)
    into.append(record)
    return number


def attempt_succeeded(
    state: RunState,
    index: int,
    result: bytes,
    at: int,
    into: list[Record],
    *,
    spawned: Sequence[tuple[str, bytes]] = (),
) -> None:
    """An attempt returned; `spawned` are the task runs that it asks for, with their arguments."""
    if state.unfolding is not None:
        if spawned and not state.cancelling:
            _spawn(state, state.name(index), spawned, at, into)
        _succeed(state, index, result, at, into)
        return
    record = TaskSucceeded(state.dag.tasks[index].task_id, state.attempts[index], result)
    succeed(state, index, record)
    into.append(record)
    if not state.unfinished:
        _end_if_done(state, at, into)


def _succeed(state: RunState, index: int, result: bytes, at: int, into: list[Record]) -> None:
    node, record = state.node(index), TaskSucceeded(state.name(index), state.attempts[index], result)
    if node.kind is NodeKind.BRANCH:
        problem = unfold.branch_problem(node, result, _names_below(state, node))
        if problem is not None:
            attempt_failed(state, index, Failure("BranchInvalid", problem), at, into, permanent=True)
            return
    _add(state, record, at, into)
    _follow(state, at, into)


def _names_below(state: RunState, node: TaskNode) -> list[str]:
    return [state.dag.tasks[below].task_id for below in node.downstream]


def _spawn(
    state: RunState, by: str, spawned: Sequence[tuple[str, bytes]], at: int, into: list[Record]
) -> None:
    for task in dict.fromkeys(name for name, _ in spawned):
        texts = [arguments for name, arguments in spawned if name == task]
        _add(state, TasksSpawned(task, by, b"[" + b",".join(texts) + b"]"), at, into)


def attempt_skipped(state: RunState, index: int, reason: str, at: int, into: list[Record]) -> None:
    """An attempt said that there is nothing to do."""
    name, attempt = state.name(index), state.attempts[index]
    is_cancelled = state.cancelling and not state.node(index).is_teardown
    ended = TaskCancelled(name, attempt) if is_cancelled else TaskSkipped(name, attempt, reason)
    _add(state, ended, at, into)
    _follow(state, at, into)


def start_timed_out(state: RunState, index: int, seconds: float, at: int, into: list[Record]) -> None:
    """A ready task has waited for its start longer than it may; what has begun meanwhile goes on."""
    if state.tasks[index] is not TaskState.READY:
        return
    failure = Failure("StartTimedOut", f"the task waited longer than its start_timeout of {seconds:g} s")
    _add(state, TaskFailed(state.name(index), state.attempts[index], failure), at, into)
    _follow(state, at, into)


def begin_wait(state: RunState, index: int, begun: Begun | Failure, at: int, into: list[Record]) -> None:
    """The turn of a wait has come, or it cannot be told what it waits for."""
    if state.tasks[index] is not TaskState.READY:
        return
    name, attempt = state.name(index), state.attempts[index]
    if isinstance(begun, Failure):
        _add(state, TaskFailed(name, attempt, begun), at, into)
    else:
        _add(state, TaskWaiting(name, attempt + 1, begun.due_at, begun.detail), at, into)
    _follow(state, at, into)


def end_wait(state: RunState, index: int, ended: Ended, at: int, into: list[Record]) -> bool:
    """What a wait waited for is there, or its time is up; False when it waits no more."""
    if state.unfolding is None or index not in state.unfolding.waits:
        return False
    name, attempt = state.name(index), state.attempts[index]
    match ended:
        case Failure():
            _add(state, TaskFailed(name, attempt, ended), at, into)
        case Skipped(reason=reason):
            _add(state, TaskSkipped(name, attempt, reason), at, into)
        case bytes():
            _add(state, TaskSucceeded(name, attempt, ended), at, into)
    _follow(state, at, into)
    return True


def expand(state: RunState, index: int, count: int | Failure, at: int, into: list[Record]) -> None:
    """How many items a mapped task has, or why it cannot be told; for one in `Unfolding.openings`."""
    name = state.name(index)
    if isinstance(count, Failure):
        _add(state, TaskFailed(name, state.attempts[index], count), at, into)
    else:
        _add(state, TaskExpanded(name, count), at, into)
    _follow(state, at, into)


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
    node, name = state.node(index), state.name(index)
    attempt = state.attempts[index]
    if state.cancelling and not node.is_teardown:
        _add(state, TaskCancelled(name, attempt), at, into)
        _follow(state, at, into)
        return None
    delay = None if permanent else node.retry.delay_after(attempt - state.lost.get(index, 0), chance)
    if delay is None:
        _add(state, TaskFailed(name, attempt, failure), at, into)
        _follow(state, at, into)
        return None
    due_at = at + math.ceil(_wished(delay, retry_after) * 1_000_000)
    _add(state, TaskRetrying(name, attempt, failure, due_at), at, into)
    return due_at


def attempt_cancelled(state: RunState, index: int, at: int, into: list[Record]) -> None:
    """An attempt stopped because it was asked to."""
    _add(state, TaskCancelled(state.name(index), state.attempts[index]), at, into)
    _follow(state, at, into)


def cancel(state: RunState, by: str, at: int, into: list[Record]) -> list[int]:
    """Somebody asks to cancel: the tasks that must be stopped now."""
    if state.cancelling or state.phase in FINAL_RUN_STATES:
        return []
    _add(state, CancelRequested(by), at, into)
    _follow(state, at, into)
    running = (index for index, task in enumerate(state.tasks) if task is TaskState.RUNNING)
    return [index for index in running if not state.node(index).is_teardown]


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
        task, attempt = state.name(index), state.attempts[index]
        if state.cancelling and not state.node(index).is_teardown:
            _add(state, TaskCancelled(task, attempt), at, into)
        elif is_suspect:
            _add(state, TaskFailed(task, attempt, Failure("Quarantined", reason)), at, into)
        else:
            _add(state, TaskLost(task, attempt), at, into)
    if is_suspect:
        abandon(state, reason, at, into)
    else:
        _follow(state, at, into)


def lose_attempts(state: RunState, at: int, into: list[Record]) -> None:
    """Attempts were cut off by a process that stops, or gave the run to another one: they become ready again.

    Unlike `recover` this counts as nobody's death.
    """
    for index, task in enumerate(state.tasks):
        if task is TaskState.RUNNING:
            is_cancelled = state.cancelling and not state.node(index).is_teardown
            lost = TaskCancelled if is_cancelled else TaskLost
            _add(state, lost(state.name(index), state.attempts[index]), at, into)
    _follow(state, at, into)


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


def _follow(state: RunState, at: int, into: list[Record]) -> None:
    """What has to be looked at because of the last record is looked at; then the run may have ended."""
    if state.unfolding is not None:
        _look(state, at, into)
    _end_if_done(state, at, into)
    if state.dag.waits:
        _park_or_resume(state, at, into)


def _park_or_resume(state: RunState, at: int, into: list[Record]) -> None:
    only_waits = unfold.only_waits(state)
    if only_waits and state.phase is RunPhase.RUNNING:
        _add(state, RunWaiting(), at, into)
    elif not only_waits and state.phase is RunPhase.WAITING:
        _add(state, RunResumed(), at, into)


def _look(state: RunState, at: int, into: list[Record]) -> None:
    known = state.unfolding
    while known is not None and known.undecided:
        below, above = known.undecided[0]
        condition = state.dag.tasks[below].edges[above].condition
        assert condition is not None  # noqa: S101 - only such edges have to be asked
        answer, error = holds(condition, state.results[above], state.parameters)
        names = (state.dag.tasks[below].task_id, state.dag.tasks[above].task_id)
        _add(state, DependencyDecided(*names, answer, error), at, into)


def _end_if_done(state: RunState, at: int, into: list[Record]) -> None:
    if state.unfinished or state.phase in FINAL_RUN_STATES:
        return
    if state.has_failed:
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
