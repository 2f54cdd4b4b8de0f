"""Which task ids a branch can name, where its function says so plainly: by its annotation, or in every `return`."""

from __future__ import annotations

import ast
import inspect
import textwrap
import typing
from collections.abc import Callable, Container, Iterator
from typing import Any

from tidemill.dag.annotations import NONE, annotations_of, item_of, literals, members
from tidemill.dag.definition import Dag, NodeKind

__all__ = ["branch_names"]


def branch_names(dag: Dag) -> dict[str, frozenset[str]]:
    """The ids that each branch can name, by its own; branches of which that is not certain are left out."""
    found: dict[str, frozenset[str]] = {}
    for node in dag.tasks:
        if node.kind is NodeKind.BRANCH:
            names = _annotated(node.function)
            if names is None:
                names = _returned(node.function)
            if names is not None:
                found[node.task_id] = frozenset(_whole(node.task_id, name, dag.index) for name in names)
    return found


def _whole(branch: str, name: str, known: Container[str]) -> str:
    """The whole id of a task that a branch names as its own group does."""
    prefix = branch
    while name not in known and (prefix := prefix.rpartition(".")[0]):
        if f"{prefix}.{name}" in known:
            return f"{prefix}.{name}"
    return name


def _annotated(function: Callable[..., Any]) -> frozenset[str] | None:
    found: set[str] = set()
    alternatives = members(annotations_of(function).get("return", Any))
    if not alternatives:
        return None
    for one in alternatives:
        if one is NONE:
            continue
        inner = item_of(one) if typing.get_origin(one) in (list, tuple, set) else one
        values = literals(inner)
        if values is None:
            return None
        found.update(value for value in values if isinstance(value, str))
    return frozenset(found) if found else None


def _returned(function: Callable[..., Any]) -> frozenset[str] | None:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(function))))
    except (OSError, TypeError, SyntaxError, ValueError):
        return None  # its text is not at hand
    if len(tree.body) != 1 or not isinstance(tree.body[0], ast.FunctionDef | ast.AsyncFunctionDef):
        return None
    found: set[str] = set()
    for one in _returns(tree.body[0]):
        names = [] if one.value is None else _constants(one.value)
        if names is None:
            return None
        found.update(names)
    return frozenset(found)


def _returns(node: ast.AST) -> Iterator[ast.Return]:
    """The `return` statements of a function, not those of functions in it."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Return):
            yield child
        elif not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            yield from _returns(child)


def _constants(value: ast.expr) -> list[str] | None:
    match value:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.Constant(value=None):
            return []
        case ast.IfExp(body=one, orelse=other):
            parts = [_constants(one), _constants(other)]
        case ast.List(elts=items) | ast.Tuple(elts=items) | ast.Set(elts=items):
            parts = [_constants(item) for item in items]
        case _:
            return None
    if any(part is None for part in parts):
        return None
    return [name for part in parts for name in part or ()]
