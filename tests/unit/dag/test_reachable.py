"""Tasks that can never start are found, and only those."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tidemill import branch, completion_of, dag, failure_of, short_circuit, switch, task, when
from tidemill.dag.build import build
from tidemill.dag.definition import Dag
from tidemill.dag.reachable import unreachable

Body = Callable[[], Any]


@task
def a() -> int:
    return 1


@task
def b() -> int:
    return 1


@task
def c() -> int:
    return 1


@task
def d() -> int:
    return 1


@branch
def decide() -> str:
    return "a"


@short_circuit
def go_on() -> bool:
    return True


def found(body: Body, **named: set[str]) -> dict[str, str]:
    made = build(dag(dag_id="d")(body))
    assert isinstance(made, Dag), made
    return {node.task_id: reason for node, reason in unreachable(made, named)}


def rule(one: Any, name: str) -> Any:
    return one.override(trigger_rule=name)


def failure_and_success() -> None:
    first, last = a(), c()
    failure_of(first) >> last
    b_ = b()
    first >> b_ >> last


def failure_or_success() -> None:
    first, repair, last = a(), b(), rule(c, "one_success")()
    failure_of(first) >> repair >> last
    first >> last


def completion_and_failure() -> None:
    first, last = a(), c()
    completion_of(first) >> last
    other = b()
    failure_of(other) >> last


def both_answers() -> None:
    first, yes, no = a(), b(), c()
    when(first, "result > 1") >> yes
    switch(first, {1: yes, 2: no})
    yes >> d()
    no >> d.override(task_id="other")()


def two_cases() -> None:
    first, one, two, last = a(), b(), c(), d()
    switch(first, {1: one, 2: two})
    [one, two] >> last


def two_cases_joined_rightly() -> None:
    first, one, two = a(), b(), c()
    last = rule(d, "none_failed_min_one_success")()
    switch(first, {1: one, 2: two})
    [one, two] >> last


def case_and_default() -> None:
    first, one, other, last = a(), b(), c(), d()
    switch(first, {1: one}, default=other)
    [one, other] >> last


def all_failed_and_success() -> None:
    first, second = a(), b()
    first >> second
    last = rule(c, "all_failed")()
    [first, second] >> last


def one_failed_of_two() -> None:
    first, second = a(), b()
    last = rule(c, "one_failed")()
    [first, second] >> last


def skipped_by_circuit() -> None:
    first, last = go_on(), rule(c, "all_skipped")()
    middle = a()
    first >> middle >> last


def skip_of_what_succeeded() -> None:
    first, second = a(), b()
    failure_of(first) >> second
    last = rule(c, "all_skipped")()
    failure_of(second) >> last


def always_below_the_impossible() -> None:
    failure_and_success()
    rule(d, "always")() << c.override(task_id="x")()


@pytest.mark.parametrize(
    "body",
    [
        failure_or_success,
        completion_and_failure,
        two_cases_joined_rightly,
        one_failed_of_two,
        skipped_by_circuit,
        skip_of_what_succeeded,
        # Both can fail: the second one because the first did.
        all_failed_and_success,
    ],
)
def test_tasks_that_can_start_are_left_alone(body: Body) -> None:
    assert found(body) == {}


def test_task_that_waits_for_success_and_failure_of_one_is_found() -> None:
    assert found(failure_and_success) == {"c": "its rule all_success can never hold for 'a' (failure), 'b'"}


def test_task_that_waits_for_two_cases_of_one_switch_is_found() -> None:
    assert list(found(two_cases)) == ["d"]
    assert list(found(case_and_default)) == ["d"]


def test_answers_to_different_questions_exclude_nothing() -> None:
    assert found(both_answers) == {}


def test_what_is_below_an_unreachable_task_is_not_told_again() -> None:
    def body() -> None:
        failure_and_success()
        made = d()
        c.override(task_id="z")() >> made

    assert list(found(always_below_the_impossible)) == ["c"]
    assert list(found(body)) == ["c"]


def test_branch_that_never_names_a_task_is_told_with_what_it_names() -> None:
    def body() -> None:
        choice, one, two = decide(), a(), b()
        choice >> [one, two]
        two >> c()

    assert found(body) == {}
    assert found(body, decide={"a"}) == {"b": "branch 'decide' never names it (it names 'a')"}


def test_join_below_a_branch_that_the_named_task_leads_to_can_start() -> None:
    def body() -> None:
        choice, one, last = decide(), a(), c()
        choice >> one >> last
        choice >> last

    assert found(body, decide={"a"}) == {}


def test_wide_graphs_are_looked_at_in_little_time() -> None:
    def body() -> None:
        firsts = [a.override(task_id=f"a{number}")() for number in range(300)]
        last = rule(c, "one_failed")()
        firsts >> last
        for number, first in enumerate(firsts):
            failure_of(first) >> b.override(task_id=f"b{number}")()

    assert found(body) == {}
