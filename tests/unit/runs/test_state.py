"""Which records fit which state: the table, exhaustively, and what is said of a record that does not fit."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from tests.unit.runs.graphs import make_dag

from tidemill.errors import InvalidTransition
from tidemill.runs.fold import apply
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
from tidemill.runs.state import (
    FINAL_TASK_STATES,
    TASK_TRANSITIONS,
    RunPhase,
    RunState,
    TaskState,
)

FAILURE = Failure("ValueError", "no")
#: Histories of a DAG t0 → t1 (and t2 alone) that leave t1 in each state.
HISTORIES: dict[str, list[Record]] = {
    "queued": [],
    "pending": [RunStarted()],
    "ready": [RunStarted(), TaskStarted("t0", 1), TaskSucceeded("t0", 1, b"1")],
}
HISTORIES["running"] = [*HISTORIES["ready"], TaskStarted("t1", 1)]
HISTORIES["retrying"] = [*HISTORIES["running"], TaskRetrying("t1", 1, FAILURE, 9)]
HISTORIES["succeeded"] = [*HISTORIES["running"], TaskSucceeded("t1", 1, b"2")]
HISTORIES["failed"] = [*HISTORIES["running"], TaskFailed("t1", 1, FAILURE)]
HISTORIES["lost"] = [*HISTORIES["running"], TaskLost("t1", 1)]
HISTORIES["upstream_failed"] = [RunStarted(), TaskStarted("t0", 1), TaskFailed("t0", 1, FAILURE)]
HISTORIES["cancelling"] = [*HISTORIES["running"], CancelRequested("me")]
HISTORIES["cancelled"] = [*HISTORIES["cancelling"], TaskCancelled("t1", 1)]
HISTORIES["ended"] = [*HISTORIES["running"], RunEnded("failed", "stop")]

RECORDS: dict[str, Record] = {
    "started 1": TaskStarted("t1", 1),
    "started 2": TaskStarted("t1", 2),
    "carried": TaskSucceeded("t1", 0, b"7"),
    "succeeded 1": TaskSucceeded("t1", 1, b"7"),
    "succeeded 2": TaskSucceeded("t1", 2, b"7"),
    "retrying 1": TaskRetrying("t1", 1, FAILURE, 9),
    "failed 1": TaskFailed("t1", 1, FAILURE),
    "cancelled 1": TaskCancelled("t1", 1),
    "lost 1": TaskLost("t1", 1),
    "run started": RunStarted(),
    "run recovered": RunRecovered(),
    "cancel requested": CancelRequested("me"),
    "run succeeded": RunEnded("succeeded", ""),
    "run failed": RunEnded("failed", "x"),
    "run cancelled": RunEnded("cancelled", ""),
    "run ended strangely": RunEnded("running", ""),
    "unknown task": TaskStarted("nobody", 1),
}
_OPEN = {"run recovered", "cancel requested", "run failed"}
#: What fits where; everything else must not.
FITS: dict[str, set[str]] = {
    "queued": {"run started", "cancel requested"},
    "pending": _OPEN,
    "ready": _OPEN | {"started 1", "carried"},
    "running": _OPEN | {"succeeded 1", "retrying 1", "failed 1", "lost 1"},
    "retrying": _OPEN | {"started 2"},
    "succeeded": _OPEN,
    "failed": _OPEN,
    "lost": _OPEN | {"started 2", "failed 1"},  # it may wait too long for its start
    "upstream_failed": _OPEN,
    "cancelling": {"succeeded 1", "cancelled 1", "run recovered", "run failed"},
    "cancelled": {"run recovered", "run failed", "run cancelled"},
    "ended": set(),
}


def folded(history: list[Record]) -> RunState:
    state = RunState("run-7", make_dag([[], [0], []]))
    for at, record in enumerate(history):
        apply(state, record, at)
    return state


@pytest.mark.parametrize(("name", "record"), list(itertools.product(HISTORIES, RECORDS)))
def test_apply_takes_exactly_the_records_that_fit(name: str, record: str) -> None:
    state = folded(HISTORIES[name])

    if record in FITS[name]:
        apply(state, RECORDS[record], 99)
    else:
        with pytest.raises(InvalidTransition) as caught:
            apply(state, RECORDS[record], 99)

        assert caught.value.run_id == "run-7"
        assert caught.value.record.startswith(type(RECORDS[record]).__name__)
        assert str(state.phase) in caught.value.state


def test_invalid_transition_names_the_task_and_shows_no_result() -> None:
    state = folded(HISTORIES["succeeded"])

    with pytest.raises(InvalidTransition) as caught:
        apply(state, TaskSucceeded("t1", 1, b'"secret"'), 9)

    assert caught.value.record == "TaskSucceeded of task 't1', attempt 1"
    assert caught.value.state == "succeeded of attempt 1 (running)"
    assert "secret" not in str(caught.value)


def test_run_of_one_task_succeeds_only_when_the_task_has() -> None:
    state = RunState("r", make_dag([[]]))
    for record in (RunStarted(), TaskStarted("t0", 1)):
        apply(state, record, 1)
    with pytest.raises(InvalidTransition):
        apply(state, RunEnded("succeeded", ""), 2)

    apply(state, TaskSucceeded("t0", 1, b"null"), 3)
    apply(state, RunEnded("succeeded", ""), 4)

    assert (state.phase, state.started_at, state.ended_at) == (RunPhase.SUCCEEDED, 1, 4)


def test_failure_reaches_everything_below_and_nothing_beside() -> None:
    state = RunState("r", make_dag([[], [0], [1], [2], [], [3, 4]]))

    for record in (RunStarted(), TaskStarted("t0", 1), TaskFailed("t0", 1, FAILURE)):
        apply(state, record, 1)

    assert [str(task) for task in state.tasks] == [
        "failed",
        "upstream_failed",
        "upstream_failed",
        "upstream_failed",
        "ready",
        "upstream_failed",
    ]
    assert state.unfinished == 1


def test_run_that_is_abandoned_leaves_no_task_open() -> None:
    state = folded(HISTORIES["running"])

    apply(state, RunEnded("failed", "quarantined"), 5)

    assert [str(task) for task in state.tasks] == ["succeeded", "cancelled", "cancelled"]
    assert (state.running, state.unfinished, list(state.ready)) == (0, 0, [])


@pytest.mark.parametrize("state", sorted(FINAL_TASK_STATES))
def test_final_task_states_lead_nowhere(state: TaskState) -> None:
    assert not TASK_TRANSITIONS[state]


def test_table_has_a_row_for_every_state_and_reaches_every_state() -> None:
    reached = {to for row in TASK_TRANSITIONS.values() for to in row}

    assert set(TASK_TRANSITIONS) == set(TaskState)
    assert set(TaskState) - reached == {TaskState.PENDING}


@pytest.mark.parametrize(
    "damage",
    [
        lambda records: records[1:],
        lambda records: [*records, records[-1]],
        lambda records: records[::-1],
    ],
    ids=["first missing", "last twice", "backwards"],
)
def test_damaged_history_does_not_fold(damage: Callable[[list[Record]], list[Record]]) -> None:
    with pytest.raises(InvalidTransition):
        folded(damage(HISTORIES["succeeded"]))
