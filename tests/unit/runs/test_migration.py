"""What keeps a run from going on with another version is told, all of it, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tidemill import completion_of, dag, task
from tidemill.dag.build import build
from tidemill.dag.definition import Dag
from tidemill.runs.migration import misfits
from tidemill.runs.records import (
    CancelRequested,
    Failure,
    Record,
    RunEnded,
    RunStarted,
    TaskExpanded,
    TaskFailed,
    TaskRetrying,
    TaskStarted,
    TaskSucceeded,
    encode,
)


@task(retries=3)
def one(n: Any = None) -> int:
    return 1


def named(name: str, *after: Any, **options: Any) -> Any:
    made = one.override(task_id=name, **options)()
    for other in after:
        other >> made
    return made


def built(body: Callable[..., Any]) -> Dag:
    made = build(dag(dag_id="d")(body))
    assert isinstance(made, Dag), made
    return made


def chain(*names: str) -> Dag:
    def body() -> None:
        last: list[Any] = []
        for name in names:
            last = [named(name, *last)]

    return built(body)


def rows(*records: Record) -> list[tuple[int, int, bytes]]:
    return [(number, number, encode([record])) for number, record in enumerate(records)]


STARTED = RunStarted()
A_DONE = (STARTED, TaskStarted("a", 1), TaskSucceeded("a", 1, b"1"))
B_RETRIES = (*A_DONE, TaskStarted("b", 1), TaskRetrying("b", 1, Failure("E", "", ""), 9))


@pytest.mark.parametrize(
    "new",
    [
        chain("a", "b", "c"),
        chain("a", "b", "x", "c"),
        chain("a", "b"),
        chain("a", "b", "c", "d"),
    ],
)
def test_what_comes_after_what_was_done_may_be_anything(new: Dag) -> None:
    assert misfits(chain("a", "b", "c"), new, b"{}", rows(*B_RETRIES)) == []


def test_run_that_has_not_begun_fits_everything_that_takes_its_parameters() -> None:
    def takes(n: int, label: str) -> None:
        one(n)

    assert misfits(chain("a"), chain("x", "y"), b"{}", []) == []
    assert misfits(chain("a"), built(takes), b'{"n": "x"}', []) == [
        (
            "parameter 'n' does not fit the new version: input should be a valid integer, "
            "unable to parse string as an integer"
        ),
        "parameter 'label' does not fit the new version: this parameter is required",
    ]


def test_every_misfit_is_told() -> None:
    def new() -> None:
        first, other = named("x"), named("y")
        named("b", first, other)

    assert misfits(chain("a", "b", "c"), built(new), b"{}", rows(*B_RETRIES)) == [
        "task 'a' has begun, and the new version has no such task",
        "task 'b' has begun, and in the new version it waits for 'x', which has not ended",
        "task 'b' has begun, and in the new version it waits for 'y', which has not ended",
    ]


def test_order_that_the_new_version_turns_around_does_not_fit() -> None:
    assert misfits(chain("a", "b", "c"), chain("b", "a", "c"), b"{}", rows(*B_RETRIES)) == [
        "task 'a' has begun, and in the new version it waits for 'b', which has not ended"
    ]


def test_task_that_went_on_after_a_failure_does_not_fit_where_it_must_not() -> None:
    def old() -> None:
        completion_of(named("a")) >> named("b") >> named("c")

    history = rows(
        STARTED,
        TaskStarted("a", 1),
        TaskFailed("a", 1, Failure("E", "", "")),
        TaskStarted("b", 1),
        TaskSucceeded("b", 1, b"1"),
    )

    assert misfits(built(old), chain("a", "b", "c"), b"{}", history) == [
        "task 'b' has begun, and in the new version it waits for 'a', which is failed"
    ]


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ((*A_DONE, TaskStarted("b", 1)), "task 'b' runs now"),
        ((*B_RETRIES, CancelRequested("ann")), "the run has ended (cancelled)"),
        (
            (*A_DONE, TaskStarted("b", 1), TaskFailed("b", 1, Failure("E", "", "")), RunEnded("failed", "")),
            "the run has ended (failed)",
        ),
        (
            (*A_DONE, TaskStarted("c", 1)),
            (
                "the history does not fit the version that it was recorded with: record TaskStarted of task 'c', "
                "attempt 1 does not fit state pending of attempt 0 (running) of run "
            ),
        ),
    ],
)
def test_run_that_is_busy_or_over_cannot_be_moved(records: tuple[Record, ...], message: str) -> None:
    history = rows(*records)
    if "cancelled" in message:
        history += [(len(history), 9, encode([RunEnded("cancelled", "")]))]

    assert misfits(chain("a", "b", "c"), chain("a", "b"), b"{}", history) == [message]


def test_map_that_is_mapped_in_one_version_only_does_not_fit() -> None:
    def mapped() -> None:
        one.override(task_id="m").expand(n=one.override(task_id="a")())

    history = rows(
        STARTED,
        TaskStarted("a", 1),
        TaskSucceeded("a", 1, b"[1, 2]"),
        TaskExpanded("m", 2),
        TaskStarted("m[0]", 1),
        TaskSucceeded("m[0]", 1, b"1"),
    )

    assert misfits(built(mapped), built(mapped), b"{}", history) == []
    assert misfits(built(mapped), chain("a", "m"), b"{}", history) == [
        "task 'm' has begun, and is mapped in one of the versions only"
    ]
