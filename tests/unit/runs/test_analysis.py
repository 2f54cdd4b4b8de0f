"""What decides how long a run takes: of runs that have ended, go on, or have not begun."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.runs.graphs import make_dag

from tidemill.dag.critical_path import longest_paths
from tidemill.dag.definition import Dag
from tidemill.dag.policy import TaskPolicy, TriggerRule
from tidemill.runs import records as r
from tidemill.runs.analysis import Analysis, analyse
from tidemill.runs.durations import TaskModel
from tidemill.runs.outlook import Outlook, outlook_of, work_of
from tidemill.runs.progress import RunProgress
from tidemill.runs.state import TaskState
from tidemill.runs.what_if import simulate

#: t0 → t1 → t3, and t0 → t2 → t3.
DIAMOND = [[], [0], [0], [1, 2]]
S = 1_000_000


def followed(dag: Dag, *decisions: tuple[float, list[Any]]) -> RunProgress:
    progress = RunProgress(dag)
    progress.follow([(n, round(at * S), r.encode(what)) for n, (at, what) in enumerate(decisions)])
    return progress


def started(*names: str) -> list[Any]:
    return [r.TaskStarted(name, 1) for name in names]


def succeeded(*names: str) -> list[Any]:
    return [r.TaskSucceeded(name, 1, b"1") for name in names]


def path_of(analysis: Analysis) -> list[str]:
    return [step.task for step in analysis.critical_path]


def expecting(**seconds: float) -> Outlook:
    return Outlook(expected=seconds, known=frozenset(seconds))


ENDED = (
    (100, [r.RunStarted(), *started("t0")]),
    (110, [*succeeded("t0"), *started("t1")]),
    (115, started("t2")),  # five seconds late: nobody had a slot
    (125, succeeded("t2")),
    (140, [*succeeded("t1"), *started("t3")]),
    (150, [*succeeded("t3"), r.RunEnded("succeeded", "")]),
)


def test_an_ended_run_is_told_as_it_was() -> None:
    found = analyse(followed(make_dag(DIAMOND), *ENDED), expecting())

    assert found.length == 50
    assert found.remaining is None
    assert path_of(found) == ["t0", "t1", "t3"]
    assert [step.share for step in found.critical_path] == [0.2, 0.6, 0.2]
    assert found.working == 10 + 30 + 10 + 10
    assert found.waiting == 5
    assert {task.task: task.slack for task in found.tasks} == {"t0": 0, "t1": 0, "t2": 15, "t3": 0}
    assert {task.task: task.waiting for task in found.tasks} == {"t0": 0, "t1": 0, "t2": 5, "t3": 0}


def test_what_would_shorten_it_is_named_with_what_it_would_save() -> None:
    found = analyse(followed(make_dag(DIAMOND), *ENDED), expecting())

    first = found.bottlenecks[0]
    # Without t1 (30 s) the way through t2 decides, whose 15 s remain.
    assert (first.task, first.kind, first.seconds) == ("t1", "work", 15)
    assert {one.task for one in found.bottlenecks} == {"t0", "t1", "t3"}


def test_waiting_for_a_slot_on_the_way_that_decides_is_a_bottleneck() -> None:
    found = analyse(
        followed(
            make_dag([[], [0]]),
            (0, [r.RunStarted(), *started("t0")]),
            (1, succeeded("t0")),
            (8, started("t1")),
            (10, [*succeeded("t1"), r.RunEnded("succeeded", "")]),
        ),
        expecting(),
    )

    queue = next(one for one in found.bottlenecks if one.kind == "queue")
    assert (queue.task, queue.seconds) == ("t1", 7)
    assert found.shortest == 3


def test_time_between_attempts_is_a_bottleneck() -> None:
    failure = r.Failure("ValueError", "no")
    found = analyse(
        followed(
            make_dag([[]]),
            (0, [r.RunStarted(), *started("t0")]),
            (1, [r.TaskRetrying("t0", 1, failure, 9 * S)]),
            (9, [r.TaskStarted("t0", 2)]),
            (10, [r.TaskSucceeded("t0", 2, b"1"), r.RunEnded("succeeded", "")]),
        ),
        expecting(),
    )

    assert ("t0", "retries", 8.0) in [(one.task, one.kind, one.seconds) for one in found.bottlenecks]


def test_a_run_that_goes_on_is_expected_to_end() -> None:
    progress = followed(
        make_dag(DIAMOND),
        (100, [r.RunStarted(), *started("t0")]),
        (110, [*succeeded("t0"), *started("t1", "t2")]),
    )

    found = analyse(progress, expecting(t0=10, t1=30, t2=10, t3=10), now=115 * S)

    assert found.remaining == pytest.approx(25 + 10)
    assert found.length == pytest.approx(50)
    assert path_of(found) == ["t0", "t1", "t3"]
    assert [step.is_expected for step in found.critical_path] == [False, True, True]
    assert {task.task: task.state for task in found.tasks}["t1"] is TaskState.RUNNING


def test_an_attempt_that_takes_longer_than_expected_is_expected_to_take_longer_still() -> None:
    progress = followed(make_dag([[]]), (0, [r.RunStarted(), *started("t0")]))
    outlook = replace(expecting(t0=10), at_most={"t0": 30.0})

    assert [analyse(progress, outlook, now=at * S).remaining for at in (4, 20, 100)] == [6, 10, 10]


def test_a_task_that_waits_for_a_slot_now_waits() -> None:
    progress = followed(make_dag([[], [0]]), (0, [r.RunStarted(), *started("t0")]), (10, succeeded("t0")))

    found = analyse(progress, expecting(t0=10, t1=5), now=17 * S)

    assert found.waiting == 7
    assert found.remaining == 5
    assert {task.task: task.waiting for task in found.tasks} == {"t0": 0, "t1": 7}


@given(st.data())
def test_a_run_that_has_not_begun_takes_the_longest_way(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 7))
    upstream = [
        sorted(data.draw(st.sets(st.integers(0, i - 1), max_size=3))) if i else [] for i in range(count)
    ]
    seconds = [float(data.draw(st.integers(1, 9))) for _ in range(count)]
    dag = make_dag(upstream)

    found = analyse(RunProgress(dag), expecting(**{f"t{i}": one for i, one in enumerate(seconds)}))

    paths = longest_paths(upstream, seconds)
    assert found.length == found.shortest == paths.length
    assert path_of(found) == [f"t{i}" for i in paths.critical]
    assert [task.slack for task in found.tasks] == pytest.approx(paths.slack)
    for one in found.bottlenecks:
        index = int(one.task[1:])
        without = longest_paths(upstream, [s * (i != index) for i, s in enumerate(seconds)])
        assert one.seconds == pytest.approx(paths.length - without.length)


def test_a_map_takes_as_many_turns_as_its_limit_asks_for() -> None:
    dag = make_dag([[], [0]])
    progress = followed(
        dag,
        (0, [r.RunStarted(), *started("t0")]),
        (5, succeeded("t0")),
        (6, [r.TaskExpanded("t1", 100), *started("t1[0]", "t1[1]")]),
    )
    outlook = replace(expecting(t0=5, t1=10), limits={"t1": 2})

    found = analyse(progress, outlook, now=6 * S)

    assert found.remaining == 10 + 49 * 10
    assert found.tasks[1].total == 100
    assert "limit" in {one.kind for one in found.bottlenecks}


def test_what_runs_only_after_a_failure_is_not_expected() -> None:
    dag = make_dag([[], [0], [0]])
    nodes = (*dag.tasks[:2], replace(dag.tasks[2], rule=TriggerRule.ONE_FAILED))
    dag = replace(dag, tasks=nodes)
    models = {name: TaskModel() for name in ("t0", "t1", "t2")}
    for name, seconds in (("t0", 10), ("t1", 10), ("t2", 500)):
        models[name].add(seconds * S)

    outlook = outlook_of(["t0", "t1", "t2"], models, dag=dag)

    assert outlook.exceptional == {"t2"}
    assert analyse(RunProgress(dag), outlook).length == pytest.approx(20, rel=0.06)


def test_limits_are_the_smallest_of_slots_and_what_the_dag_and_the_task_say() -> None:
    dag = make_dag([[], []])
    nodes = (replace(dag.tasks[0], policy=TaskPolicy(max_active_per_run=3)), dag.tasks[1])
    dag = replace(dag, tasks=nodes, max_active_tasks=10)

    assert outlook_of(["t0", "t1"], {}, dag=dag, slots={"loop": 50}).limits == {"t0": 3, "t1": 10}


def test_work_for_what_if_is_what_was_or_what_is_expected() -> None:
    ended = followed(make_dag(DIAMOND), *ENDED)
    going = followed(make_dag(DIAMOND), *ENDED[:2])
    outlook = expecting(t0=1, t1=2, t2=3, t3=4)

    assert work_of(ended, outlook)[0].durations == [10, 30, 10, 10]
    assert work_of(going, outlook)[0].durations == [10, 2, 3, 4]
    assert simulate([work_of(ended, outlook)[0]], 1).makespan == 60
    assert simulate([work_of(ended, outlook)[0]], 2).makespan == 50


def test_a_run_without_tasks_has_nothing_to_tell() -> None:
    found = analyse(RunProgress(replace(make_dag([[]]), tasks=(), index={}, roots=())), expecting())

    assert (found.length, list(found.critical_path), list(found.bottlenecks)) == (0, [], [])


def test_a_wait_is_over_when_its_time_is_up_or_when_it_usually_is() -> None:
    progress = followed(make_dag([[]]), (0, [r.RunStarted(), r.TaskWaiting("t0", 1, 100 * S, {})]))

    unknown = analyse(progress, Outlook(expected={"t0": 1.0}), now=10 * S)
    known = analyse(progress, expecting(t0=30), now=10 * S)

    assert unknown.remaining == 90
    assert known.remaining == 20
