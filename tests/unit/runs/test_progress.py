"""How far a run is, folded from its history."""

from __future__ import annotations

from typing import Any

from tests.unit.runs.graphs import make_dag

from tidemill.runs import records as r
from tidemill.runs.progress import Counts, RunProgress
from tidemill.runs.state import RunPhase, TaskState

FAILURE = r.Failure("ValueError", "no")


def rows_of(*decisions: tuple[int, list[Any]]) -> list[tuple[int, int, bytes]]:
    return [(sequence, at, r.encode(what)) for sequence, (at, what) in enumerate(decisions)]


def followed(*decisions: tuple[int, list[Any]]) -> RunProgress:
    progress = RunProgress(make_dag([[], [0], [1]]))
    progress.follow(rows_of(*decisions))
    return progress


def test_a_run_that_waits_has_done_nothing() -> None:
    assert followed().counts() == Counts(total=3, done=0, succeeded=0, failed=0, not_run=0, running=0)


def test_running_and_ended_task_runs_are_counted() -> None:
    progress = followed(
        (10, [r.RunStarted(), r.TaskStarted("t0", 1)]),
        (30, [r.TaskSucceeded("t0", 1, b"1"), r.TaskStarted("t1", 1)]),
    )

    assert progress.counts() == Counts(total=3, done=1, succeeded=1, failed=0, not_run=0, running=1)
    assert progress.tasks["t0"].working == 20
    assert progress.tasks["t1"].state(has_ended=False) is TaskState.RUNNING
    assert progress.phase is RunPhase.RUNNING


def test_folding_goes_on_where_it_stopped() -> None:
    rows = rows_of(
        (10, [r.RunStarted(), r.TaskStarted("t0", 1)]),
        (30, [r.TaskSucceeded("t0", 1, b"1"), r.TaskStarted("t1", 1)]),
        (40, [r.TaskSucceeded("t1", 1, b"1")]),
    )
    progress = RunProgress(make_dag([[], [0], [1]]))

    assert progress.follow(rows[:1])
    assert not progress.follow([])
    assert progress.follow(rows[1:])

    assert progress.sequence == 2
    assert progress.counts().done == 2


def test_attempts_and_what_lies_between_them_are_told_apart() -> None:
    progress = followed(
        (0, [r.RunStarted(), r.TaskStarted("t0", 1)]),
        (5, [r.TaskRetrying("t0", 1, FAILURE, 15)]),
        (15, [r.TaskStarted("t0", 2)]),
        (18, [r.TaskLost("t0", 2)]),
        (20, [r.TaskStarted("t0", 3)]),
        (27, [r.TaskSucceeded("t0", 3, b"1")]),
    )

    task = progress.tasks["t0"]
    assert (task.attempts, task.working, task.retry_waiting) == (3, 15, 12)
    assert (task.started_at, task.ended_at) == (0, 27)
    assert not task.running
    assert not task.retrying


def test_what_others_keep_from_running_is_done_when_the_run_has_ended() -> None:
    before = [
        (0, [r.RunStarted(), r.TaskStarted("t0", 1)]),
        (5, [r.TaskFailed("t0", 1, FAILURE)]),
    ]
    going, ended = followed(*before), followed(*before, (5, [r.RunEnded("failed", "")]))

    assert going.counts() == Counts(total=3, done=1, succeeded=0, failed=1, not_run=0, running=0)
    assert ended.counts() == Counts(total=3, done=3, succeeded=0, failed=1, not_run=2, running=0)
    assert ended.tasks["t1"].state(has_ended=True) is None


def test_a_map_counts_its_task_runs_once_they_are_known() -> None:
    unknown = [
        (0, [r.RunStarted(), r.TaskStarted("t0", 1)]),
        (5, [r.TaskSucceeded("t0", 1, b"[1,2,3]")]),
    ]
    known = [
        (6, [r.TaskExpanded("t1", 3)]),
        (7, [r.TaskStarted("t1[0]", 1), r.TaskStarted("t1[1]", 1)]),
        (
            9,
            [r.TaskSucceeded("t1[0]", 1, b"1"), r.TaskFailed("t1[1]", 1, FAILURE), r.TaskStarted("t1[2]", 1)],
        ),
    ]
    before, after = followed(*unknown), followed(*unknown, *known)

    assert before.counts().total == 3
    assert after.counts() == Counts(total=5, done=3, succeeded=2, failed=1, not_run=0, running=1)
    assert [task.task_id for task in after.maps()] == ["t1"]
    assert after.counts(after.tasks["t1"]) == Counts(
        total=3, done=2, succeeded=1, failed=1, not_run=0, running=1
    )


def test_memory_does_not_grow_with_the_task_runs_of_a_map() -> None:
    progress = followed((0, [r.RunStarted(), r.TaskExpanded("t1", 50_000)]))
    for place in range(2000):
        name = f"t1[{place}]"
        progress.follow(
            [(place + 1, place, r.encode([r.TaskStarted(name, 1), r.TaskSucceeded(name, 1, b"1")]))]
        )

    task = progress.tasks["t1"]
    assert (task.done, len(task.running), len(task.retrying)) == (2000, 0, 0)


def test_a_map_of_nothing_is_done() -> None:
    progress = followed((0, [r.RunStarted(), r.TaskExpanded("t0", 0)]))

    assert progress.counts().total == 2
    assert progress.tasks["t0"].is_done


def test_waits_are_neither_running_nor_waiting_for_a_slot() -> None:
    before = [
        (0, [r.RunStarted(), r.TaskWaiting("t0", 1, 90, {"kind": "sleep"})]),
        (1, [r.RunWaiting()]),
    ]
    waiting, done = (
        followed(*before),
        followed(*before, (90, [r.RunResumed(), r.TaskSucceeded("t0", 1, b"1")])),
    )

    assert waiting.counts() == Counts(total=3, done=0, succeeded=0, failed=0, not_run=0, running=0, waiting=1)
    assert waiting.tasks["t0"].state(has_ended=False) is TaskState.WAITING
    assert waiting.phase is RunPhase.WAITING
    assert (done.phase, done.counts().done, done.counts().waiting) == (RunPhase.RUNNING, 1, 0)
    assert not done.tasks["t0"].parked


def test_task_runs_that_are_asked_for_meanwhile_are_counted() -> None:
    progress = followed(
        (0, [r.RunStarted(), r.TaskStarted("t0", 1)]),
        (1, [r.TasksSpawned("t1", "t0", b'[{"n":1},{"n":2}]')]),
        (2, [r.TasksSpawned("t1", "t0", b'[{"n":3}]'), r.TaskStarted("t1[0]", 1)]),
    )

    assert progress.counts().total == 5
    assert progress.tasks["t1"].total == 3
