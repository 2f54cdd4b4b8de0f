"""What a task may ask of its machine, and what is refused while the DAG is built."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tidemill import dag, task
from tidemill.dag.definition import Dag
from tidemill.dag.resources import NO_RESOURCES, Resources, parse_bytes


async def coroutine() -> int:
    return 1


def plain() -> int:
    return 1


def dag_of(*tasks: Any) -> Any:
    """A DAG that calls each once."""

    @dag
    def d() -> None:
        for one in tasks:
            one()

    return d


@pytest.mark.parametrize(
    ("function", "options", "executor"),
    [
        (coroutine, {}, "loop"),
        (plain, {}, "thread"),
        (coroutine, {"memory": "1GiB"}, "loop"),
        (plain, {"memory": "1GiB"}, "process"),
        (plain, {"memory": "1GiB", "executor": "thread"}, "thread"),
        (plain, {"cpu": 2, "gpu": 1}, "thread"),
        (coroutine, {"executor": "process"}, "process"),
        (plain, {"executor": "process"}, "process"),
        (coroutine, {"executor": "ray"}, "ray"),
        (plain, {"executor": "ray"}, "ray"),
        (coroutine, {"executor": "dask"}, "dask"),
        (plain, {"executor": "dask"}, "dask"),
    ],
)
def test_executor_is_the_one_given_or_that_of_the_kind(
    built: Callable[..., Dag], function: Any, options: dict[str, Any], executor: str
) -> None:
    [node] = built(dag_of(task(**options)(function))).tasks

    assert node.executor == executor


def test_request_is_read_in_full(built: Callable[..., Dag]) -> None:
    asking = task(
        executor="ray",
        cpu=2,
        memory="1.5GiB",
        gpu=0.5,
        resources={"disk": 1},
        environment={"env_vars": {"A": "1"}, "pip": ["x==1"]},
        idempotent=True,
    )(plain)

    [node] = built(dag_of(asking)).tasks

    assert node.resources == Resources(
        cpu=2.0,
        memory=1_610_612_736,
        gpu=0.5,
        custom=(("disk", 1.0),),
        env_vars=(("A", "1"),),
        pip=("x==1",),
        idempotent=True,
    )


def test_task_that_asks_for_nothing_has_no_request(built: Callable[..., Dag]) -> None:
    [node] = built(dag_of(task(plain))).tasks

    assert node.resources is NO_RESOURCES


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (1, 1),
        ("1", 1),
        ("2GiB", 2 << 30),
        ("2 GB", 2_000_000_000),
        ("0.5MiB", 512 << 10),
        ("7B", 7),
        (0, None),
        (-1, None),
        (True, None),
        (1.5, None),
        ("GiB", None),
        ("1XiB", None),
        ("-1GiB", None),
        (None, None),
    ],
)
def test_bytes_are_numbers_or_texts_with_a_unit(text: Any, found: int | None) -> None:
    assert parse_bytes(text) == found


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"executor": "thread", "environment": {"env_vars": {"A": "1"}}},
            "environment has no meaning on executor 'thread', which shares this process",
        ),
        ({"executor": "process", "environment": {"pip": ["x"]}}, 'pip works with executor="ray" only'),
        ({"executor": "thread", "memory": 0}, 'memory must be bytes above 0 or a text such as "2GiB"'),
        ({"executor": "ray", "heartbeat": 5}, "heartbeat cannot be watched on executor 'ray'"),
        ({"executor": "loop"}, 'executor="loop" runs coroutine functions; write async def'),
        ({"executor": "spark"}, "executor must be one of loop, thread, process, ray, dask, not 'spark'"),
        ({"executor": "ray", "cpu": -1}, "cpu must be a number from 0, not -1"),
        ({"executor": "ray", "cpu": float("nan")}, "cpu must be a number from 0, not nan"),
        ({"executor": "ray", "gpu": 1.5}, "gpu above 1 must be a whole number"),
        ({"executor": "ray", "gpu": "one"}, "gpu must be a number from 0, not 'one'"),
        ({"executor": "ray", "memory": "much"}, 'memory must be bytes above 0 or a text such as "2GiB"'),
        ({"executor": "ray", "resources": {"CPU": 1}}, "CPU is no name of your own"),
        ({"executor": "ray", "resources": {"x": 0}}, "the amount of x must be a number above 0"),
        ({"executor": "ray", "resources": ["x"]}, "resources must be amounts by name"),
        ({"executor": "ray", "environment": {"TZ": "UTC"}}, "environment: there is no 'TZ'"),
        ({"executor": "ray", "environment": {"env_vars": {"A": 1}}}, "environment: A must be a text"),
        ({"executor": "ray", "environment": {"env_vars": {"A=B": "1"}}}, "is no name of a variable"),
        ({"executor": "ray", "environment": {"pip": "x"}}, "pip must be a list of requirements"),
        ({"executor": "dask", "environment": {"pip": ["x"]}}, 'pip works with executor="ray" only'),
        ({"executor": "ray", "idempotent": 1}, "idempotent must be True or False, not 1"),
    ],
)
def test_wrong_request_is_refused(
    problems: Callable[..., list[str]], options: dict[str, Any], message: str
) -> None:
    found = problems(dag_of(task(**options)(plain)))

    assert len(found) == 1
    assert message in found[0]


def test_coroutine_function_is_refused_in_threads(problems: Callable[..., list[str]]) -> None:
    [found] = problems(dag_of(task(executor="thread")(coroutine)))

    assert 'executor="thread" runs plain functions; write def instead of async def' in found


def test_every_wrong_option_is_told_at_once(problems: Callable[..., list[str]]) -> None:
    found = problems(dag_of(task(executor="ray", cpu=-1, memory="x", retries=-1)(plain)))

    assert len(found) == 3


def test_override_changes_where_a_task_runs(built: Callable[..., Dag]) -> None:
    asking = task(executor="ray", cpu=2)(plain)

    [node] = built(dag_of(asking.override(cpu=4, idempotent=True))).tasks

    assert (node.executor, node.resources.cpu, node.resources.idempotent) == ("ray", 4.0, True)


def test_version_says_where_tasks_run(built: Callable[..., Dag]) -> None:
    versions = {
        built(dag_of(task(**options)(plain))).version
        for options in ({}, {"executor": "ray"}, {"executor": "ray", "cpu": 2}, {"executor": "dask"})
    }

    assert len(versions) == 4


def test_version_of_a_dag_that_says_nothing_is_as_it_always_was(built: Callable[..., Dag]) -> None:
    # Kept versions are read again by a newer Tidemill, and must come to the same.
    source = "the text"

    assert built(dag_of(task(plain)), source=source).version == "a60b457db496"
    assert built(dag_of(task(executor="thread")(plain)), source=source).version == "a60b457db496"


def test_arguments_are_left_to_executors_elsewhere_and_to_those_behind_them(
    built: Callable[..., Dag],
) -> None:
    there = task(executor="ray")(plain)
    take = task(lambda one, two: None).override(task_id="take")

    @dag
    def d() -> None:
        local = task(plain).override(task_id="local")()
        far = there()
        take(far["rows"], [local])
        take.override(task_id="near")(local, 1)

    tasks = {node.task_id: node for node in built(d).tasks}

    assert {name: node.is_deferred for name, node in tasks.items()} == {
        "local": False,
        "plain": True,
        "take": True,
        "near": False,
    }
    assert tasks["take"].reads == tuple(sorted((tasks["plain"].index, tasks["local"].index)))
