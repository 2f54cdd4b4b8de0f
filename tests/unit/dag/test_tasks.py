"""Tasks and what calling them inside a DAG function gives."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from tidemill import dag, task
from tidemill.dag.binding import resolve
from tidemill.dag.definition import Dag
from tidemill.dag.handles import Output

Built = Callable[..., Dag]


@task
def extract(day: str = "today") -> str:
    """Takes a day out."""
    return day.upper()


@task
async def write(*rows: Any, **options: Any) -> int:
    return len(rows)


def test_task_outside_of_a_dag_is_the_function() -> None:
    assert extract("monday") == "MONDAY"
    assert asyncio.run(write(1, 2)) == 2
    assert (extract.__name__, extract.__doc__) == ("extract", "Takes a day out.")


def test_override_leaves_the_task_as_it_was(built: Built) -> None:
    other = extract.override(task_id="other", retries=3)

    @dag
    def flow() -> None:
        extract()
        other()

    first, second = built(flow).tasks
    assert (first.task_id, first.retry.max_attempts) == ("extract", 1)
    assert (second.task_id, second.retry.max_attempts) == ("other", 4)
    assert second.function is extract.function


def test_repeated_calls_are_numbered_and_avoid_given_names(built: Built) -> None:
    @dag
    def flow() -> None:
        extract.override(task_id="extract__2")()
        for _ in range(3):
            extract()

    assert [node.task_id for node in built(flow).tasks] == [
        "extract__2",
        "extract",
        "extract__3",
        "extract__4",
    ]


def test_arguments_are_taken_as_they_were_when_the_task_was_called(built: Built) -> None:
    @dag
    def flow() -> None:
        rows: list[Any] = [1]
        first = write(rows, {"rows": rows})
        rows.append(first)
        write(rows)

    first, second = built(flow).tasks

    assert resolve(first, [], {})[0] == ([1], {"rows": [1]})
    assert resolve(second, ["one"], {})[0] == ([1, "one"],)


def test_outputs_are_found_anywhere_inside_arguments(built: Built) -> None:
    class Pair(NamedTuple):
        left: Any
        right: Any

    @dag
    def flow() -> None:
        a, b, c = extract("a"), extract("b"), extract("c")
        write(a, [1, (b, 2)], extra={"deep": [{"c": c}], "pair": Pair(a, "x")})

    node = built(flow).tasks[3]

    assert node.upstream == (0, 1, 2)
    args, kwargs = resolve(node, ["A", "B", "C"], {})
    assert args == ("A", [1, ("B", 2)])
    assert kwargs == {"extra": {"deep": [{"c": "C"}], "pair": Pair("A", "x")}}


@pytest.mark.parametrize(
    ("misuse", "message"),
    [
        (lambda output: list(output), "cannot be iterated over or unpacked"),
        (lambda output: bool(output), "cannot be tested"),
        (lambda output: len(output), "cannot be measured"),
        (lambda output: 1 in output, "cannot be searched with 'in'"),
        (lambda output: f"{output}", "cannot be turned into text"),
        (lambda output: str(output), "cannot be turned into text"),
        (lambda output: output == 3, "cannot be compared"),
        (lambda output: output[1:2], "cannot be indexed with slice"),
        (lambda output: output >> extract, r"call the task first: extract\(\) >> load\(\)"),
        (lambda output: output << 3, "<< joins outputs of tasks"),
    ],
)
@pytest.mark.parametrize("path", [(), ("rows", 0)])
def test_output_refuses_what_needs_a_value(
    misuse: Callable[[Any], object], message: str, path: tuple[Any, ...], built: Built
) -> None:
    refused: list[TypeError] = []

    @dag
    def flow() -> None:
        output = extract()
        for step in path:
            output = output[step]
        try:
            misuse(output)
        except TypeError as error:
            refused.append(error)

    built(flow)

    with pytest.raises(TypeError, match=message):
        raise refused[0]


def test_output_attribute_is_refused_with_the_way_to_write_it(built: Built) -> None:
    hints: list[str] = []

    @dag
    def flow() -> None:
        try:
            _ = extract().total
        except AttributeError as error:
            hints.append(str(error))

    built(flow)

    assert len(hints) == 1
    assert "has no attribute 'total'; write output['total'] to refer to a part of the result" in hints[0]


def test_arrows_return_the_right_hand_side() -> None:
    seen: list[Any] = []

    @dag
    def flow() -> None:
        a, b, c = extract(), extract(), extract()
        seen.extend(
            [a >> b, b, a >> [b, c], [b, c], [a] >> c, c, repr(a["x"]), a.task_id, isinstance(a, Output)]
        )

    from tidemill.dag.build import build

    build(flow)

    assert seen[0] is seen[1]
    assert all(left is right for left, right in zip(seen[2], seen[3], strict=True))
    assert seen[4] is seen[5]
    assert seen[6:] == ["<output of task 'extract'['x']>", "extract", True]


@pytest.mark.parametrize(
    ("decorate", "message"),
    [
        (lambda: task(extract), "extract is a task already"),
        (lambda: task(int), "decorates a function, not type"),
        (
            lambda: task(3),  # type: ignore[call-overload]
            "decorates a function, not int",
        ),
        (lambda: task(dag(lambda: extract())), "a DAG cannot be a task"),
        (lambda: dag(extract), "@dag decorates a function, not Task"),
        (lambda: dag(int), "@dag decorates a function, not type"),
    ],
)
def test_decorators_refuse_what_is_no_function(decorate: Callable[[], object], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        decorate()


def test_objects_with_a_coroutine_call_are_coroutine_tasks(built: Built) -> None:
    class Loader:
        async def __call__(self, rows: list[int]) -> int:
            return len(rows)

    load = task(task_id="load")(Loader())

    @dag
    def flow() -> None:
        load([1])

    assert built(flow).tasks[0].is_coroutine
