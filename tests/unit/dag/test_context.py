"""How a task asks for its context."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Optional

import pytest

import tidemill
from tidemill import Context, dag, task
from tidemill import Context as Ctx
from tidemill.dag.context import find_context_parameters
from tidemill.dag.definition import Dag

if TYPE_CHECKING:
    from elsewhere import Thing  # type: ignore[import-not-found]


class Other:
    class Context:
        pass


def plain(a: int, context: Context) -> None: ...
def maybe(context: Context | None = None) -> None: ...
def optional(context: Optional[Context] = None) -> None: ...  # noqa: UP045
def dotted(x: tidemill.Context) -> None: ...
def renamed(x: Ctx) -> None: ...
def renamed_maybe(x: Ctx | None = None) -> None: ...
def foreign(context: Other.Context) -> None: ...
def none_of_them(a: int, context: str, b=None) -> None: ...  # type: ignore[no-untyped-def]
def beside_hidden(a: Thing, context: Context) -> None: ...
def unresolved(context: Missing.Context | None) -> None: ...  # type: ignore[name-defined]  # noqa: F821
def in_a_list(context: list[Context]) -> None: ...


@pytest.mark.parametrize(
    ("function", "names"),
    [
        (plain, ["context"]),
        (maybe, ["context"]),
        (optional, ["context"]),
        (dotted, ["x"]),
        (renamed, ["x"]),
        (renamed_maybe, ["x"]),
        (foreign, []),
        (none_of_them, []),
        (beside_hidden, ["context"]),
        (unresolved, ["context"]),
        (in_a_list, []),
    ],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_context_is_found_by_annotation(function: Callable[..., Any], names: list[str]) -> None:
    assert find_context_parameters(function, inspect.signature(function)) == names


def test_context_is_found_by_real_annotations_as_well() -> None:
    def real(a: int, x: Any) -> None: ...

    for annotation in (Context, Context | None, Optional[Context]):  # noqa: UP045
        real.__annotations__["x"] = annotation
        assert find_context_parameters(real, inspect.signature(real)) == ["x"]


@task
def first(context: Context, day: str, limit: int = 5) -> Any:
    return (context, day, limit)


@task
def between(day: str = "today", *, context: Context, limit: int) -> Any:
    return (context, day, limit)


@task
def defaulted(day: str = "today", context: Context | None = None, limit: int = 3) -> Any:
    return (context, day, limit)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda: first("monday"), ("here", "monday", 5)),
        (lambda: first("monday", 7), ("here", "monday", 7)),
        (lambda: first(limit=1, day="d"), ("here", "d", 1)),
        (lambda: between(limit=2), ("here", "today", 2)),
        (lambda: defaulted("d"), ("here", "d", 3)),
        (lambda: defaulted("d", 9), ("here", "d", 9)),
    ],
)
def test_context_can_stand_anywhere_and_is_added_by_name(
    call: Callable[[], Any], expected: tuple[Any, ...], built: Callable[..., Dag]
) -> None:
    node = built(dag(dag_id="flow")(lambda: call())).tasks[0]

    assert node.context_parameter is not None
    given = node.function(*node.args, **node.kwargs, **{node.context_parameter: "here"})

    assert given == expected
