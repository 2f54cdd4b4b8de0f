"""Two runs side by side."""

from __future__ import annotations

from tidemill.runs.diff import diff_runs
from tidemill.runs.records import Failure
from tidemill.runs.state import TaskState
from tidemill.runs.view import TaskView

OK = TaskState.SUCCEEDED


def view(task: str, state: TaskState = OK, result: bytes | None = b"1", **facts: object) -> TaskView:
    return TaskView(task, state, 1, 1_000_000, 3_500_000, None, result, **facts)  # type: ignore[arg-type]


def test_runs_that_came_to_the_same_differ_in_nothing() -> None:
    tasks = [view("a", result=b'{"x": 1, "y": 2}'), view("b")]
    again = [view("a", result=b'{"y": 2, "x": 1}'), view("b")]

    found = diff_runs(({"n": 1}, {"n": 1}), (tasks, again))

    assert (found.parameters, found.first, [one.differs for one in found.tasks]) == ({}, None, [[], []])
    assert found.tasks[0].after is not None
    assert (found.tasks[0].after.seconds, found.tasks[0].after.result) == (2.5, {"x": 1, "y": 2})


def test_first_task_that_came_to_something_else_is_named() -> None:
    failed = TaskView("b", TaskState.FAILED, 3, 1, 2, Failure("E", "why", ""), None)
    before = [view("a"), view("b", result=b"5"), view("c")]
    after = [view("a"), failed, TaskView("c", TaskState.UPSTREAM_FAILED)]

    found = diff_runs(({}, {}), (before, after))

    assert found.first == "b"
    assert {one.task_id: list(one.differs) for one in found.tasks} == {
        "a": [],
        "b": ["state", "attempts", "result", "error"],
        "c": ["state", "attempts", "result"],
    }
    assert found.tasks[1].after is not None
    assert found.tasks[1].after.error == "E: why"


def test_more_attempts_alone_are_no_other_outcome() -> None:
    more = view("a")
    more.attempts = 2

    found = diff_runs(({}, {}), ([view("a")], [more]))

    assert (found.first, found.tasks[0].differs) == (None, ["attempts"])


def test_parameters_and_tasks_of_one_run_only_are_told() -> None:
    found = diff_runs(({"a": 1, "b": 2}, {"b": 3, "c": None}), ([view("old")], [view("new")]))

    assert found.parameters == {"a": (1, None), "b": (2, 3), "c": (None, None)}
    assert [(one.task_id, one.before is None, one.after is None) for one in found.tasks] == [
        ("new", True, False),
        ("old", False, True),
    ]


def test_long_results_are_told_by_their_digest() -> None:
    found = diff_runs(({}, {}), ([view("a", result=b'"' + b"x" * 500 + b'"')], [view("a")]))

    side = found.tasks[0].before
    assert side is not None
    assert (side.result, len(side.digest)) == (None, 12)
