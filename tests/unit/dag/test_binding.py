"""Resolving argument trees."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from tidemill import dag, task
from tidemill.dag.binding import (
    ParameterRef,
    ResultRef,
    UnresolvedReference,
    compile_call,
    compile_tree,
    resolve,
)
from tidemill.dag.definition import Dag

_RESULTS = [{"rows": [1, 2]}, "text", None]
_PARAMETERS = {"day": "monday", "limits": {"max": 5}}


def _naive(tree: Any) -> Any:
    value: Any
    match tree:
        case ResultRef():
            value = _RESULTS[tree.index]
        case ParameterRef():
            value = _PARAMETERS[tree.name]
        case list():
            return [_naive(one) for one in tree]
        case tuple():
            return tuple(_naive(one) for one in tree)
        case dict():
            return {key: _naive(one) for key, one in tree.items()}
        case _:
            return tree
    for step in tree.path:
        value = value[step]
    return value


_leaves = st.one_of(
    st.integers(),
    st.text(max_size=3),
    st.none(),
    st.builds(ResultRef, st.integers(0, 2)),
    st.just(ResultRef(0, ("rows", 1))),
    st.sampled_from([ParameterRef("day"), ParameterRef("limits", ("max",))]),
)
_trees = st.recursive(
    _leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(st.text(max_size=3), inner, max_size=3),
    ),
    max_leaves=12,
)


@given(_trees)
def test_compiled_trees_give_what_a_plain_walk_gives(tree: Any) -> None:
    make = compile_tree(tree)

    value = tree if make is None else make(_RESULTS, _PARAMETERS)

    assert value == _naive(tree)
    assert type(value) is type(_naive(tree))


@given(st.lists(_trees, max_size=3), st.dictionaries(st.text(max_size=3), _trees, max_size=3))
def test_compiled_calls_give_what_a_plain_walk_gives(args: list[Any], kwargs: dict[str, Any]) -> None:
    bind = compile_call(tuple(args), kwargs)

    value = (tuple(args), kwargs) if bind is None else bind(_RESULTS, _PARAMETERS)

    assert value == (tuple(_naive(one) for one in args), _naive(kwargs))


@pytest.mark.parametrize(
    ("reference", "result", "message"),
    [
        (
            ResultRef(0, ("total",), "sum"),
            {"a": 1, "b": 2},
            "the result of task 'sum' has no 'total' (it has 'a', 'b')",
        ),
        (
            ResultRef(0, ("a", "b"), "sum"),
            {"a": None},
            "the result of task 'sum'['a'] has no 'b' (it is null)",
        ),
        (ResultRef(0, (3,), "sum"), [1, 2], "the result of task 'sum' has no 3 (it is a list of 2)"),
        (ResultRef(0, ("upper",), "sum"), "text", "the result of task 'sum' has no 'upper' (it is str)"),
        (ResultRef(0, (0,), "sum"), 5, "the result of task 'sum' has no 0 (it is int)"),
        (ResultRef(0, ("x",)), {}, "the result of task 0 has no 'x' (it is an empty object)"),
    ],
)
def test_a_path_that_leads_nowhere_fails_the_task_and_says_what_is_there(
    reference: ResultRef, result: Any, message: str
) -> None:
    make = compile_tree(reference)
    assert make is not None

    with pytest.raises(UnresolvedReference) as caught:
        make([result], {})

    assert caught.value.message == message
    assert caught.value.error_type == "UnresolvedReference"


class Customer(BaseModel):
    name: str
    path: str = "/"


class Order(BaseModel):
    customer: Customer
    rows: list[int]


@task
def show(*values: Any) -> None: ...


def test_parameters_that_are_models_are_referred_to_by_attribute_and_by_key(
    built: Callable[..., Dag],
) -> None:
    @dag
    def flow(order: Order) -> None:
        show(order, order.customer.name, order["customer"]["path"], order.rows[1])  # type: ignore[index]

    made = built(flow)
    order = made.parameters.load(b'{"order": {"customer": {"name": "Ada", "path": "/x"}, "rows": [1, 2]}}')

    args, _ = resolve(made.tasks[0], [], order)

    assert args == (order["order"], "Ada", "/x", 2)
    assert isinstance(args[0], Order)


def test_calls_of_constants_cost_nothing(built: Callable[..., Dag]) -> None:
    @dag
    def flow() -> None:
        show(1, ("a", 2.5, None))

    node = built(flow).tasks[0]

    assert not node.has_references
    assert resolve(node, [], {})[0] is node.args
