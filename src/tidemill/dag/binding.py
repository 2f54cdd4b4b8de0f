"""References in argument trees, and how they become values when an attempt starts. Pure.

Rules:

1. A tree is made of constants, references, and lists, tuples and dicts of trees.
2. What is resolved is made anew each time: no two attempts share a list or dict that came from the
   definition.
3. Trees are compiled once, at build; resolving costs the references, never the size of the DAG.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

from tidemill.dag.definition import Dag, TaskNode
from tidemill.errors import TaskFailed
from tidemill.events.event import JSON

__all__ = [
    "Arguments",
    "Binder",
    "ParameterRef",
    "Resolver",
    "ResultRef",
    "Results",
    "UnresolvedReference",
    "compile_call",
    "compile_tree",
    "resolve",
    "resolve_output",
    "result_indexes",
]

#: Results of finished tasks by the tasks' index.
Results = Mapping[int, JSON] | Sequence[JSON]
Arguments = tuple[tuple[Any, ...], Mapping[str, Any]]
Resolver = Callable[[Any, Mapping[str, Any]], Any]
Binder = Callable[[Any, Mapping[str, Any]], Arguments]
Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class ResultRef:
    """The result of the task at `index`, or what `path` leads to within it."""

    index: int
    path: Path = ()
    #: For messages only.
    task_id: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class ParameterRef:
    """The run's parameter `name`, or what `path` leads to within it."""

    name: str
    path: Path = ()


class UnresolvedReference(TaskFailed):
    """A result or parameter has no such key, index or attribute; the task that needs it cannot be called."""

    def __init__(self, message: str) -> None:
        super().__init__("UnresolvedReference", message)


def resolve(node: TaskNode, results: Results, parameters: Mapping[str, Any]) -> Arguments:
    """The arguments of one attempt of `node`, without its context.

    `results` holds at least the upstream tasks' results. Raises `UnresolvedReference` when a path leads
    nowhere: the attempt has failed, and a further one with the same results fails in the same way.
    """
    if node.bind is not None:
        return node.bind(results, parameters)
    if not node.has_references:
        return node.args, node.kwargs
    bind = compile_call(node.args, node.kwargs)
    return (node.args, node.kwargs) if bind is None else bind(results, parameters)


def resolve_output(dag: Dag, results: Results, parameters: Mapping[str, Any]) -> Any:
    """What the DAG function returned, with values in place of references; None when it returned nothing.

    Raises `UnresolvedReference` as `resolve` does.
    """
    resolver = compile_tree(dag.output)
    return dag.output if resolver is None else resolver(results, parameters)


def result_indexes(tree: Any) -> tuple[int, ...]:
    """Indexes of the results that `tree` refers to, in order."""
    found: set[int] = set()
    pending = [tree]
    while pending:
        match pending.pop():
            case ResultRef(index=index):
                found.add(index)
            case list() | tuple() as items:
                pending.extend(items)
            case dict() as values:
                pending.extend(values.values())
    return tuple(sorted(found))


def compile_call(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Binder | None:
    """A function that makes args and kwargs; None when both are constants that nobody can change."""
    positional = compile_tree(args)
    named = _compile_values(kwargs)
    if positional is None and named is None:
        return None
    if named is None and len(args) == 1 and isinstance(args[0], ResultRef) and not args[0].path:
        index = args[0].index  # a task that takes what the one before it made: the commonest call of all
        return lambda results, parameters: ((results[index],), kwargs)
    if named is None:
        make = positional
        assert make is not None  # noqa: S101
        return lambda results, parameters: (make(results, parameters), kwargs)
    if positional is None:
        return lambda results, parameters: (args, named(results, parameters))
    return lambda results, parameters: (positional(results, parameters), named(results, parameters))


def compile_tree(tree: Any) -> Resolver | None:
    """A function that makes the value of `tree`; None when `tree` is a constant that can be used as it is."""
    match tree:
        case ResultRef(index=index, path=()):
            return lambda results, parameters: results[index]
        case ResultRef(index=index, path=path, task_id=task_id):
            what = f"the result of task {task_id or index!r}"
            return lambda results, parameters: _follow(results[index], path, what)
        case ParameterRef(name=name, path=()):
            return lambda results, parameters: parameters[name]
        case ParameterRef(name=name, path=path):
            what = f"parameter {name!r}"
            return lambda results, parameters: _follow(parameters[name], path, what)
        case list():
            sequence = _compile_items(tree)
            if sequence is None:
                return lambda results, parameters: tree.copy()
            return lambda results, parameters: list(sequence(results, parameters))
        case tuple():
            return _compile_tuple(tree)
        case dict():
            return _compile_values(tree) or (lambda results, parameters: tree.copy())
        case set():
            return lambda results, parameters: tree.copy()
        case _:
            return None


def _compile_items(items: Sequence[Any]) -> Resolver | None:
    """A function that makes the items in order; None when all of them can be used as they are."""
    if len(items) > 1 and all(isinstance(item, ResultRef) and not item.path for item in items):
        # Joins of thousands of results: one call in C instead of one per item.
        getter = itemgetter(*[item.index for item in items])
        return lambda results, parameters: getter(results)
    pairs = [(compile_tree(item), item) for item in items]
    if all(make is None for make, _ in pairs):
        return None
    return lambda results, parameters: [
        item if make is None else make(results, parameters) for make, item in pairs
    ]


def _compile_tuple(items: tuple[Any, ...]) -> Resolver | None:
    sequence = _compile_items(items)
    if sequence is None:
        return None
    if len(items) == 1 and type(items) is tuple:
        only = compile_tree(items[0])
        assert only is not None  # noqa: S101 - something is made, and this is all there is
        return lambda results, parameters: (only(results, parameters),)
    if hasattr(items, "_fields"):
        made = type(items)
        return lambda results, parameters: made(*sequence(results, parameters))
    return lambda results, parameters: tuple(sequence(results, parameters))


def _compile_values(values: Mapping[str, Any]) -> Resolver | None:
    names = tuple(values)
    sequence = _compile_tuple(tuple(values.values()))
    if sequence is None:
        return None
    return lambda results, parameters: dict(zip(names, sequence(results, parameters), strict=True))


def _follow(value: Any, path: Path, what: str) -> Any:
    for depth, step in enumerate(path):
        try:
            if isinstance(step, int) or isinstance(value, Mapping):
                value = value[step]
            else:
                value = getattr(value, step) if _has_attributes(value) else value[step]
        except (LookupError, TypeError, AttributeError) as error:
            place = what + "".join(f"[{one!r}]" for one in path[:depth])
            raise UnresolvedReference(f"{place} has no {step!r} ({_describe(value)})") from error
    return value


def _has_attributes(value: Any) -> bool:
    """Parameters may be models, whose fields are attributes; JSON values have none that a path could mean."""
    return not isinstance(value, str | int | float | list | tuple | None)


def _describe(value: Any) -> str:
    if isinstance(value, Mapping):
        names = ", ".join(repr(name) for name in list(value)[:8])
        return f"it has {names}" if names else "it is an empty object"
    if isinstance(value, list | tuple):
        return f"it is a list of {len(value)}"
    return f"it is {'null' if value is None else type(value).__name__}"
