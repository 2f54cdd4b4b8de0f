"""Which results a run takes over of the one that it makes again."""

from __future__ import annotations

from typing import Any

import pytest

from tidemill import dag, task
from tidemill.dag.build import build
from tidemill.dag.definition import Dag
from tidemill.runs.records import RunEnded, RunStarted, TaskStarted, TaskSucceeded, encode
from tidemill.runs.rerun import Done, Plan, carried, done_in
from tidemill.runs.reuse import How


@task
async def step(*values: Any) -> int:
    return 1


def graph() -> Dag:
    """`a` to `b` to `d`, `a` to `c` to `d`, `m` mapped below `a` with `e` below it, and `z` alone."""

    @task
    async def one(n: int) -> int:
        return n

    @dag
    def flow() -> Any:
        a = step.override(task_id="a")()
        b, c = step.override(task_id="b")(a), step.override(task_id="c")(a)
        step.override(task_id="d")(b, c)
        mapped = one.override(task_id="m", depends_on=[a]).expand(n=[1, 2, 3])
        step.override(task_id="e")(mapped)
        step.override(task_id="z")()

    made = build(flow)
    assert isinstance(made, Dag)
    return made


DONE = {name: name.encode() for name in ("a", "b", "c", "d", "e", "m[0]", "m[1]", "m[2]", "z")}


def told(value: object) -> str:
    """The same name in every process, whichever order sets have there."""
    return str(sorted(value)) if isinstance(value, set) else str(value)


@pytest.mark.parametrize(
    ("plan", "called"),
    [
        (Plan(), set(DONE)),
        (Plan(failed=True), set()),
        (Plan(from_tasks=["a"]), {"a", "b", "c", "d", "e", "m[0]", "m[1]", "m[2]"}),
        (Plan(from_tasks=["b"]), {"b", "d"}),
        (Plan(from_tasks=["b", "z"]), {"b", "d", "z"}),
        (Plan(from_tasks=["m"]), {"m[0]", "m[1]", "m[2]", "e"}),
        (Plan(from_tasks=["m[1]"]), {"m[1]", "e"}),
        (Plan(from_tasks=["m[1]", "m"]), {"m[0]", "m[1]", "m[2]", "e"}),
        (Plan(only=["b"]), {"b"}),
        (Plan(only=["m[2]"]), {"m[2]"}),
        (Plan(only=["m"]), {"m[0]", "m[1]", "m[2]"}),
        (Plan(only=["b"], with_downstream=True), {"b", "d"}),
        (Plan(edits={"b": 1}), {"b", "d"}),
        (Plan(edits={"m[0]": 1}), {"m[0]", "e"}),
        (Plan(edits={"d": 1}), {"d"}),
        (Plan(edits={"b": 1}, changed=["x"]), set(DONE)),
        (Plan(edits={"b": 1}, changed=["x"], from_tasks=["c"]), {"b", "c", "d"}),
        (Plan(changed=["x"]), set(DONE)),
        (Plan(changed=["x"], failed=True), set()),
    ],
    ids=told,
)
def test_what_is_not_made_again_is_carried(plan: Plan, called: set[str]) -> None:
    found = carried(plan, graph(), "run-1", Done(DONE, succeeded=True))

    assert {name for name, one in found.items() if one.how is How.CARRIED} == DONE.keys() - called
    assert {name for name, one in found.items() if one.how is How.EDITED} == plan.edits.keys()
    assert all(one.run == "run-1" for one in found.values())


def test_what_the_graph_does_not_have_any_more_is_no_obstacle() -> None:
    found = carried(
        Plan(from_tasks=["gone", "b"]), graph(), "run-1", Done({**DONE, "old": b"1"}, succeeded=True)
    )

    assert "b" not in found
    assert found["a"].result == b"a"


def test_plan_comes_back_from_the_event_that_asks_for_it() -> None:
    plan = Plan(
        from_tasks=("a",),
        only=("m[1]",),
        failed=True,
        with_downstream=True,
        edits={"z": {"n": [1]}},
        changed=("x",),
        by="ada",
    )

    assert Plan.of({"run_id": "r", "by": "ada", "rerun": plan.as_json()}) == plan
    assert Plan.of({"run_id": "r", "by": "ada"}) == Plan(failed=True, by="ada")


def around() -> Dag:
    """`make` to `work` to `clean`, where `clean` tears down what `make` made; `other` is below `make` only."""

    @dag
    def flow() -> Any:
        made = step.override(task_id="make")()
        step.override(task_id="other")(made)
        worked = step.override(task_id="work")(made)
        step.override(task_id="clean", depends_on=[worked], teardown="make")()
        step.override(task_id="apart")()

    built = build(flow)
    assert isinstance(built, Dag)
    return built


@pytest.mark.parametrize(
    ("plan", "missing", "succeeded", "called"),
    [
        (Plan(only=["work"]), set(), True, {"make", "work", "clean"}),
        (Plan(from_tasks=["work"]), set(), True, {"make", "work", "clean"}),
        (Plan(failed=True), {"work"}, False, {"make", "work", "clean"}),
        (Plan(failed=True), {"apart"}, False, {"apart"}),
        (Plan(only=["apart"]), {"work"}, True, {"apart", "work"}),
        (Plan(only=["clean"]), set(), True, {"make", "clean"}),
        (Plan(only=["other"]), set(), True, {"other"}),
    ],
    ids=told,
)
def test_what_a_setup_made_is_made_again_for_what_needs_it(
    plan: Plan, missing: set[str], succeeded: bool, called: set[str]
) -> None:
    names = {"make", "other", "work", "clean", "apart"}
    done = Done(dict.fromkeys(names - missing, b"1"), succeeded=succeeded)

    found = carried(plan, around(), "run-1", done)

    assert names - found.keys() == called


def test_what_a_run_has_done_is_read_from_its_history() -> None:
    history = [
        (0, 1, encode([RunStarted(), TaskStarted("a", 1)])),
        (
            1,
            2,
            encode(
                [TaskSucceeded("a", 1, b"[1]"), TaskSucceeded("m[1]", 0, b"2"), RunEnded("succeeded", "")]
            ),
        ),
    ]

    assert done_in(history) == Done({"a": b"[1]", "m[1]": b"2"}, succeeded=True)
    assert done_in(history[:1]) == Done({}, succeeded=False)
