"""What tasks of a DAG take against what they are given, by their annotations: only what is certainly wrong."""

from __future__ import annotations

import inspect
import types
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, TypeVar

from tidemill.dag.annotations import (
    NONE,
    UNKNOWN,
    annotations_of,
    describe,
    is_none,
    item_of,
    kinds_of,
    members,
    never_json,
    of_constant,
)
from tidemill.dag.binding import ParameterRef, ResultRef
from tidemill.dag.definition import Dag, NodeKind, TaskNode
from tidemill.dag.serializers import JSON_RESULT
from tidemill.dag.type_fit import mismatch
from tidemill.dag.type_paths import at_path
from tidemill.project.remarks import Remark

__all__ = ["check_types"]

#: Stands for the annotation that a parameter does not have.
_UNSAID = TypeVar("_UNSAID")


def check_types(dag: Dag) -> list[Remark]:
    """Everything that is certainly wrong between the tasks of a DAG."""
    return sorted(set(_Checked(dag).remarks()))


class _Checked:
    def __init__(self, dag: Dag) -> None:
        self._dag = dag
        self._hints: dict[Any, Mapping[str, Any]] = {}

    @cached_property
    def _parameters(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self._dag.parameters.annotations
        return found

    def remarks(self) -> Iterator[Remark]:
        for node in self._dag.tasks:
            yield from self._arguments(node)
            yield from self._edges(node)
            yield from self._result(node)
        yield from self._paths(self._dag.output, self._dag.line, "the DAG's output")
        yield from self._defaults()

    def _remark(self, rule: str, message: str, line: int) -> Remark:
        return Remark(self._dag.file, line or self._dag.line, 0, rule, f"DAG {self._dag.dag_id!r}: {message}")

    # ── what a task is given ──

    def _arguments(self, node: TaskNode) -> Iterator[Remark]:
        try:
            signature = inspect.signature(node.function)
            bound = signature.bind_partial(*node.args, **node.kwargs).arguments
        except (TypeError, ValueError):
            return
        hints = self._hints_of(node)
        for name, tree in bound.items():
            wanted = hints.get(name, _UNSAID)
            what = f"task {node.task_id!r} takes {name!r}"
            match signature.parameters[name].kind:
                case inspect.Parameter.VAR_POSITIONAL:
                    trees: Sequence[Any] = tree
                case inspect.Parameter.VAR_KEYWORD:
                    trees = list(tree.values())
                case _:
                    trees = (tree,)
            for one in trees:
                yield from self._paths(one, node.line, f"task {node.task_id!r}")
                if not self._is_default(one, signature.parameters[name]):
                    yield from self._fit(one, wanted, node, what)
        for name, tree in node.mapped.values if node.mapped is not None else ():
            yield from self._paths(tree, node.line, f"task {node.task_id!r}")
            yield from self._items(tree, hints.get(name, _UNSAID), node, name)

    def _is_default(self, tree: Any, parameter: inspect.Parameter) -> bool:
        """None where None is the function's own default: `n: int = None` is customary."""
        if parameter.default is not None:
            return False
        return tree is None or (
            isinstance(tree, ResultRef) and not tree.path and is_none(self._result_of(tree.index))
        )

    def _fit(self, tree: Any, wanted: Any, node: TaskNode, what: str) -> Iterator[Remark]:
        produced, origin = self._given(tree)
        if isinstance(tree, ResultRef) and not tree.path and is_none(produced):
            if wanted is _UNSAID or NONE not in (members(wanted) or [NONE]):
                message = f"{what} from {origin}, which returns nothing (None)"
                yield self._remark("none-passed", message, node.line)
            return
        reason = mismatch(produced, wanted, is_json=not isinstance(tree, ParameterRef))
        if reason is not None:
            yield self._remark("type-mismatch", f"{what} from {origin}: {reason}", node.line)
        elif isinstance(tree, list | tuple):
            inner = _only_list(wanted)
            for place, one in enumerate(tree):
                yield from self._fit(one, inner, node, f"{what}[{place}]")

    def _items(self, tree: Any, wanted: Any, node: TaskNode, name: str) -> Iterator[Remark]:
        """A mapped argument: each item of it is taken."""
        what = f"task {node.task_id!r} takes each {name!r}"
        if isinstance(tree, list | tuple):
            for one in tree:
                yield from self._fit(one, wanted, node, what)
            return
        produced, origin = self._given(tree)
        reason = mismatch(produced, list[Any] | dict[str, Any])
        if reason is None:
            reason = mismatch(_only_list(produced), wanted, is_json=not isinstance(tree, ParameterRef))
        if reason is not None:
            yield self._remark("type-mismatch", f"{what} from {origin}: {reason}", node.line)

    def _given(self, tree: Any) -> tuple[Any, str]:
        """What an argument is, and where it comes from."""
        match tree:
            case ResultRef():
                found, reason = at_path(self._result_of(tree.index), tree.path)
                name = self._dag.tasks[tree.index].task_id
                return (UNKNOWN if reason else found), f"task {name!r}{_shown(tree.path)}"
            case ParameterRef():
                found, reason = at_path(self._parameters.get(tree.name, UNKNOWN), tree.path)
                return (UNKNOWN if reason else found), f"parameter {tree.name!r}{_shown(tree.path)}"
            case _:
                return of_constant(tree), f"the constant {_short(tree)}"

    # ── references ──

    def _paths(self, tree: Any, line: int, what: str) -> Iterator[Remark]:
        match tree:
            case ResultRef() | ParameterRef():
                yield from self._path(tree, line, what)
            case list() | tuple():
                for one in tree:
                    yield from self._paths(one, line, what)
            case dict():
                for one in tree.values():
                    yield from self._paths(one, line, what)

    def _path(self, reference: ResultRef | ParameterRef, line: int, what: str) -> Iterator[Remark]:
        if isinstance(reference, ResultRef):
            name = f"the result of task {self._dag.tasks[reference.index].task_id!r}"
            whole = self._result_of(reference.index)
        else:
            name = f"parameter {reference.name!r}"
            whole = self._parameters.get(reference.name, UNKNOWN)
        _, reason = at_path(whole, reference.path)
        if reason is not None:
            yield self._remark("unknown-path", f"{what} refers to {name}{reason}", line)

    def _edges(self, node: TaskNode) -> Iterator[Remark]:
        for above, edge in node.edges.items():
            if edge.condition is not None and edge.condition.path:
                reference = ResultRef(above, edge.condition.path)
                yield from self._path(reference, node.line, f"the condition of task {node.task_id!r}")

    # ── single tasks ──

    def _result(self, node: TaskNode) -> Iterator[Remark]:
        annotation = self._hints_of(node).get("return", UNKNOWN)
        is_json = node.policy.result == JSON_RESULT
        if is_json and node.kind is NodeKind.TASK and never_json(annotation):
            told = describe(annotation)
            message = (
                f"task {node.task_id!r} returns {told}, which cannot be written as JSON; give it result="
            )
            yield self._remark("unserialisable-result", message, node.line)
        for tree in (*node.args, *node.kwargs.values()):
            if (found := _unwritable(tree)) is not None:
                message = f"task {node.task_id!r} is called with a {found}, which cannot be written as JSON"
                yield self._remark("unserialisable-constant", message, node.line)

    def _defaults(self) -> Iterator[Remark]:
        for problem in self._dag.parameters.unwritable_defaults():
            message = f"the default of parameter {problem.name!r} cannot be stored as JSON: {problem.message}"
            yield self._remark("unserialisable-default", message, self._dag.line)

    def _result_of(self, index: int) -> Any:
        node = self._dag.tasks[index]
        annotation = self._hints_of(node).get("return", UNKNOWN)
        if node.mapped is None:
            return annotation
        # Items that failed and were tolerated are None: where all are, nothing is known of the list's.
        return types.GenericAlias(list, (UNKNOWN if is_none(annotation) else annotation,))

    def _hints_of(self, node: TaskNode) -> Mapping[str, Any]:
        found = self._hints.get(node.function)
        if found is None:
            found = self._hints[node.function] = annotations_of(node.function)
        return found


def _only_list(annotation: Any) -> Any:
    """What the items are where the annotation is one kind of list."""
    alternatives = [one for one in members(annotation) if one is not NONE]
    if len(alternatives) != 1 or kinds_of(alternatives[0]) != frozenset({"list"}):
        return UNKNOWN
    return item_of(alternatives[0])


def _unwritable(tree: Any) -> str | None:
    """The class of the first constant that cannot be written as JSON; functions and classes are code, not data."""
    match tree:
        case None | bool() | int() | float() | str() | ResultRef() | ParameterRef():
            return None
        case list() | tuple():
            return next((found for one in tree if (found := _unwritable(one)) is not None), None)
        case dict():
            return next((found for one in tree.values() if (found := _unwritable(one)) is not None), None)
    if callable(tree) or inspect.ismodule(tree):
        return None
    from pydantic_core import to_jsonable_python

    try:
        to_jsonable_python(tree)
    except Exception:  # whatever the value's own conversion raises
        return type(tree).__qualname__
    return None


def _shown(path: Sequence[str | int]) -> str:
    return "".join(f"[{step!r}]" for step in path)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
