"""What a project would have started, against what was started."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tidemill.events.event import Event, LoggedEvent
from tidemill.keeping.archive import Archived
from tidemill.keeping.plan import Difference, Planner
from tidemill.project.model import Project
from tidemill.storage.contract import Became, Disposition, DispositionKind

MakeProject = Callable[..., Project]

TRIGGER = """
triggers:
  - {name: numbers, dag: numbers, filters: [{exact: {type: number}}], parameters: {n: $.data.n}}
"""


def recorded(position: int, data: object, *became: Became, kind: str = "number") -> Archived:
    event = Event(id=str(position), source="/s", type=kind, data=data)
    return Archived(LoggedEvent(position, 0, event), became)


def started(position: int, parameters: bytes, trigger: str = "numbers") -> Became:
    return Became(Disposition(position, trigger, DispositionKind.RUN, f"r{position}"), "numbers", parameters)


def test_what_stays_the_same_is_no_change(make_project: MakeProject) -> None:
    past = [recorded(1, {"n": 1}, started(1, b'{"n":1}')), recorded(2, {}, kind="other")]

    assert list(Planner(make_project(TRIGGER)).changes(past)) == []


def test_added_removed_and_changed_starts_are_told(make_project: MakeProject) -> None:
    past = [
        recorded(1, {"n": 1}),
        recorded(2, {"n": 2}, started(2, b'{"n":3}')),
        recorded(3, {"n": 3}, started(3, b'{"n":3}'), kind="other"),
        recorded(4, {"n": 4}, started(4, b'{"n":4}'), started(4, b'{"n":4}', "gone")),
    ]

    changes = list(Planner(make_project(TRIGGER)).changes(past))

    assert [(one.position, one.trigger, one.difference) for one in changes] == [
        (1, "numbers", Difference.ADDED),
        (2, "numbers", Difference.CHANGED),
        (3, "numbers", Difference.REMOVED),
        (4, "gone", Difference.REMOVED),
    ]
    assert changes[1].before == {"dag": "numbers", "parameters": {"n": 3}}
    assert changes[1].after == {"dag": "numbers", "parameters": {"n": 2}}


def test_a_start_that_would_be_refused_is_removed(make_project: MakeProject) -> None:
    past = [recorded(1, {"n": "one"}, started(1, b'{"n":1}'))]

    (change,) = Planner(make_project(TRIGGER)).changes(past)

    assert change.difference is Difference.REMOVED
    assert change.after == {"refused": "dead_lettered"}


def test_a_refusal_that_stays_is_no_change(make_project: MakeProject) -> None:
    refused = Became(Disposition(1, "numbers", DispositionKind.DEAD_LETTERED, None, "letter"))

    assert list(Planner(make_project(TRIGGER)).changes([recorded(1, {}, refused)])) == []


def test_a_run_that_is_no_longer_kept_counts_as_a_start(make_project: MakeProject) -> None:
    gone = Became(Disposition(1, "numbers", DispositionKind.RUN, "r1"))

    assert list(Planner(make_project(TRIGGER)).changes([recorded(1, {"n": 1}, gone)])) == []


@pytest.mark.parametrize(
    "kind",
    sorted(set(DispositionKind) - {DispositionKind.RUN, *map(DispositionKind, ("paused", "dead_lettered"))}),
)
def test_what_admission_did_with_an_event_is_no_change(
    make_project: MakeProject, kind: DispositionKind
) -> None:
    admitted = Became(Disposition(1, "numbers", kind, None))

    assert list(Planner(make_project(TRIGGER)).changes([recorded(1, {"n": 1}, admitted)])) == []


def test_parameters_that_a_look_up_makes_are_not_compared(make_project: MakeProject) -> None:
    looked_up = TRIGGER.replace(
        "n: $.data.n}}", "n: $.enriched.x}, enrich: {x: {function: 'counting:find'}}}"
    )
    past = [recorded(1, {"n": 1}, started(1, b'{"n":7}')), recorded(2, {"n": 1})]

    changes = list(Planner(make_project(looked_up)).changes(past))

    assert [(one.position, one.difference) for one in changes] == [(2, Difference.ADDED)]


def test_schedules_and_manual_requests_are_not_compared(make_project: MakeProject) -> None:
    past = [recorded(1, {}, started(1, b"{}", "schedule"), kind="tick")]

    assert list(Planner(make_project(TRIGGER)).changes(past)) == []


def test_two_folders_are_compared_without_what_was_recorded(make_project: MakeProject) -> None:
    candidate = make_project(TRIGGER.replace("type: number", "type: other"), "candidate")
    past = [recorded(1, {"n": 1}), recorded(2, {"n": 2}, kind="other")]

    changes = list(Planner(candidate, make_project(TRIGGER)).changes(past))

    assert [(one.position, one.difference) for one in changes] == [
        (1, Difference.REMOVED),
        (2, Difference.ADDED),
    ]
