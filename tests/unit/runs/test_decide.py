"""What follows from what happened: attempts, retries, deaths, carried results, and how runs end."""

from __future__ import annotations

import math
from datetime import timedelta

import pytest
from tests.unit.runs.graphs import give, make_dag

from tidemill.dag.binding import ParameterRef, ResultRef
from tidemill.dag.policy import TriggerRule
from tidemill.dag.retry import Retry
from tidemill.runs import decide
from tidemill.runs.output import run_output
from tidemill.runs.records import (
    Failure,
    Record,
    RunEnded,
    RunRecovered,
    RunStarted,
    TaskFailed,
    TaskLost,
    TaskStarted,
    TaskSucceeded,
)
from tidemill.runs.state import RunPhase, RunState, TaskState

FAILURE = Failure("ValueError", "no")
SECOND = 1_000_000


def running(*, upstream: list[list[int]] | None = None, max_attempts: int = 1) -> RunState:
    """A run whose first task's first attempt runs."""
    state, into = RunState("r", make_dag(upstream or [[], [0]], max_attempts=max_attempts)), []
    decide.start(state, 0, into)
    decide.start_task(state, 0, 0, into)
    return state


@pytest.mark.parametrize(
    ("retry", "delays"),
    [
        (Retry(), []),
        (Retry(max_attempts=4, jitter=0), [1, 2, 4]),
        (Retry(max_attempts=4, jitter=0, backoff=1), [1, 1, 1]),
        (Retry(max_attempts=5, jitter=0, delay=timedelta(minutes=4)), [240, 480, 600, 600]),
        (Retry(max_attempts=3, jitter=0, delay=timedelta(0)), [0, 0]),
        (Retry(max_attempts=3, jitter=0, delay=timedelta(seconds=9), max_delay=timedelta(seconds=2)), [2, 2]),
    ],
    ids=["none", "doubling", "fixed", "ceiling", "at once", "above the ceiling"],
)
def test_retry_delays(retry: Retry, delays: list[float]) -> None:
    found = [retry.delay_after(attempt, 0.5) for attempt in range(1, retry.max_attempts + 1)]

    assert found == [*delays, None]


def test_retry_delay_stays_finite_however_many_attempts() -> None:
    retry = Retry(max_attempts=100_000, backoff=1e6)

    assert retry.delay_after(99_999, 0.999) == 600


def test_retry_jitter_spreads_around_the_delay() -> None:
    retry = Retry(max_attempts=2, delay=timedelta(seconds=10), jitter=0.2)

    assert retry.delay_after(1, 0.0) == 8
    assert retry.delay_after(1, 0.5) == 10
    assert retry.delay_after(1, 0.999) == pytest.approx(12, abs=0.01)


def test_failed_attempt_is_due_again_after_its_delay() -> None:
    state, into = running(max_attempts=2), []

    due_at = decide.attempt_failed(state, 0, FAILURE, 5 * SECOND, into)

    assert due_at == 6 * SECOND == state.retry_at[0]
    assert state.tasks[0] is TaskState.RETRYING


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [
        (30.0, 30),
        (0.0, 0),
        (-5.0, 0),
        (math.nan, 1),
        (math.inf, 315_360_000),
        (1e300, 315_360_000),
        (-math.inf, 0),
    ],
)
def test_task_may_ask_for_any_delay_and_gets_one_that_is_a_time(asked: float, seconds: float) -> None:
    state, into = running(max_attempts=2), []

    assert decide.attempt_failed(state, 0, FAILURE, 0, into, retry_after=asked) == seconds * SECOND


def test_delay_that_a_task_asks_for_gives_no_further_attempt() -> None:
    state, into = running(max_attempts=1), []

    assert decide.attempt_failed(state, 0, FAILURE, 0, into, retry_after=1.0) is None
    assert state.tasks == [TaskState.FAILED, TaskState.UPSTREAM_FAILED]
    assert into[-1] == RunEnded("failed", "")


def test_permanent_failure_is_not_tried_again() -> None:
    state, into = running(max_attempts=9), []

    assert decide.attempt_failed(state, 0, FAILURE, 0, into, permanent=True) is None
    assert isinstance(into[0], TaskFailed)


def test_lost_attempts_do_not_count_against_max_attempts() -> None:
    state, into = running(max_attempts=2), []
    for _ in range(3):
        decide.recover(state, 0, into, max_recoveries=9)
        decide.start_task(state, 0, 0, into)
    assert state.attempts[0] == 4

    first = decide.attempt_failed(state, 0, FAILURE, 0, into)
    decide.start_task(state, 0, 0, into)
    second = decide.attempt_failed(state, 0, FAILURE, 0, into)

    assert first == SECOND
    assert second is None
    assert state.attempts[0] == 5


def test_recovery_makes_running_tasks_ready_again_and_counts() -> None:
    state, into = running(upstream=[[], [], [0, 1]]), []
    decide.start_task(state, 1, 0, into)
    into.clear()

    decide.recover(state, 7, into, max_recoveries=5)

    assert into == [RunRecovered(), TaskLost("t0", 1), TaskLost("t1", 1)]
    assert state.tasks[:2] == [TaskState.READY, TaskState.READY]
    assert (state.recoveries, state.running) == (1, 0)


def test_recovery_of_a_run_at_rest_is_no_event_of_its_own() -> None:
    state, into = running(max_attempts=2), []
    decide.attempt_failed(state, 0, FAILURE, 0, into)
    into.clear()

    decide.recover(state, 7, into, max_recoveries=1)

    assert into == []
    assert state.recoveries == 0


def test_run_that_was_running_in_too_many_deaths_is_quarantined() -> None:
    state, into = running(upstream=[[], [0], []]), []
    for _ in range(2):
        decide.recover(state, 0, into, max_recoveries=2)
        assert state.phase is RunPhase.RUNNING
        decide.start_task(state, 0, 0, into)

    decide.recover(state, 9, into, max_recoveries=2)

    assert state.phase is RunPhase.FAILED
    assert state.reason.startswith("quarantined: the process died 3 times")
    assert [str(task) for task in state.tasks] == ["failed", "upstream_failed", "cancelled"]
    assert state.errors[0].error_type == "Quarantined"


def test_recovery_of_a_run_that_is_being_cancelled_cancels_what_was_lost() -> None:
    state, into = running(), []
    assert decide.cancel(state, "me", 1, into) == [0]

    decide.recover(state, 2, into, max_recoveries=0)

    assert state.phase is RunPhase.CANCELLED


def test_carried_results_are_taken_over_as_far_as_they_are_connected() -> None:
    state, into = RunState("r", make_dag([[], [0], [1], [2]])), []

    decide.start(state, 0, into)
    give(state, {"t0": b"1", "t1": b"2", "t3": b"4"}, into)

    assert into == [RunStarted(), TaskSucceeded("t0", 0, b"1"), TaskSucceeded("t1", 0, b"2")]
    assert list(state.ready) == [2]
    assert decide.start_task(state, 2, 0, into) == 1


def test_run_with_every_result_carried_ends_at_once() -> None:
    state, into = RunState("r", make_dag([[], [0]])), []

    decide.start(state, 3, into)
    give(state, {"t0": b"1", "t1": b"2"}, into, at=3)

    assert state.phase is RunPhase.SUCCEEDED
    assert (state.started_at, state.ended_at) == (3, 3)
    assert not state.ready


def test_queued_run_is_cancelled_whether_its_tasks_are_known_or_not() -> None:
    for dag in (make_dag([[], [0]]), make_dag([])):
        state, into = RunState("r", dag), []

        assert decide.cancel(state, "me", 4, into) == []

        assert state.phase is RunPhase.CANCELLED
        assert (state.started_at, state.ended_at) == (None, 4)


def test_cancelling_twice_says_it_once() -> None:
    state, into = running(), []

    first, second = decide.cancel(state, "a", 1, into), decide.cancel(state, "b", 2, into)

    assert (first, second) == ([0], [])
    assert sum(type(record).__name__ == "CancelRequested" for record in into) == 1


def test_task_is_not_started_twice_nor_while_cancelling() -> None:
    state, into = running(), []

    assert decide.start_task(state, 0, 0, into) is None
    assert decide.start_task(state, 1, 0, into) is None
    decide.cancel(state, "me", 0, into)
    assert decide.start_task(state, 0, 0, into) is None


def test_failed_attempt_of_a_cancelled_run_is_cancelled_and_not_retried() -> None:
    state, into = running(max_attempts=5), []
    decide.cancel(state, "me", 0, into)

    assert decide.attempt_failed(state, 0, FAILURE, 1, into) is None

    assert state.phase is RunPhase.CANCELLED


def test_task_that_finishes_although_cancelled_keeps_its_result() -> None:
    state, into = running(), []
    decide.cancel(state, "me", 0, into)

    decide.attempt_succeeded(state, 0, b"5", 1, into)

    assert state.results == {0: b"5"}
    assert state.phase is RunPhase.CANCELLED
    assert [str(task) for task in state.tasks] == ["succeeded", "cancelled"]


def test_run_whose_last_task_finishes_although_cancelled_has_succeeded() -> None:
    state, into = running(upstream=[[]]), []
    decide.cancel(state, "me", 0, into)

    decide.attempt_succeeded(state, 0, b"5", 1, into)

    assert state.phase is RunPhase.SUCCEEDED


def test_refused_run_has_started_and_failed_with_the_reason() -> None:
    state, into = RunState("r", make_dag([])), []

    decide.refuse(state, "no source \ud800", 6, into)

    assert into == [RunStarted(), RunEnded("failed", "no source \\ud800")]


def finish(state: RunState, result: bytes) -> list[Record]:
    into: list[Record] = []
    decide.start(state, 0, into)
    decide.start_task(state, 0, 0, into)
    decide.attempt_succeeded(state, 0, result, 1, into)
    return into


def test_output_is_made_of_results_and_parameters() -> None:
    output = {"total": ResultRef(0, ("sum",)), "by": ParameterRef("who"), "v": [1, ResultRef(0)]}
    state = RunState("r", make_dag([[]], output=output), b'{"who":"me"}')

    finish(state, b'{"sum":3}')

    assert state.phase is RunPhase.SUCCEEDED
    assert run_output(state) == b'{"total":3,"by":"me","v":[1,{"sum":3}]}'


def test_run_whose_output_cannot_be_made_fails_with_the_reason() -> None:
    for output in (ResultRef(0, ("nope",)), [object()]):
        state = RunState("r", make_dag([[]], output=output))

        into = finish(state, b'{"sum":3}')

        assert state.phase is RunPhase.FAILED
        assert state.reason.startswith("the run's result cannot be made: ")
        assert into[:2] == [RunStarted(), TaskStarted("t0", 1)]


@pytest.mark.parametrize("changes", [{}, {3: {"rule": TriggerRule.ALL_DONE}}])
def test_failure_is_the_runs_although_what_is_below_was_skipped_already(
    changes: dict[int, dict[str, object]],
) -> None:
    # t0 → t2 and t1 → t2; whether the graph is plain must not matter.
    state, into = RunState("r", make_dag([[], [], [0, 1], []], changes=changes)), []
    decide.start(state, 0, into)
    for index in (0, 1, 3):
        decide.start_task(state, index, 0, into)

    decide.attempt_skipped(state, 0, "nothing to do", 1, into)
    decide.attempt_succeeded(state, 3, b"1", 1, into)
    decide.attempt_failed(state, 1, Failure("E", "no"), 1, into)

    assert [str(task) for task in state.tasks] == ["skipped", "failed", "skipped", "succeeded"]
    assert state.phase is RunPhase.FAILED
