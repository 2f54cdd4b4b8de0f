"""From checked calls to numbered tasks: handles become references by index, the whole gets a version."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import orjson

from tidemill.dag import binding
from tidemill.dag.definition import MapSpec, TaskNode
from tidemill.dag.edges import Edge, EdgeKind
from tidemill.dag.handles import Output, Parameter, name_of, path_of
from tidemill.dag.policy import DEFAULT_POLICY
from tidemill.dag.recording import Call
from tidemill.dag.resources import LOCAL_EXECUTORS, NO_RESOURCES
from tidemill.dag.retry import Retry

__all__ = ["number", "refer", "version_of"]

#: What most tasks of a wide graph have in common: one of each, not one a task.
_NO_RETRY = Retry()
_NO_KEYWORDS: Mapping[str, Any] = {}
_NO_EDGES: Mapping[int, Edge] = {}


def number(
    calls: Sequence[Call], upstream: Sequence[Sequence[int]], order: Sequence[int]
) -> tuple[TaskNode, ...]:
    """Nodes in `order`; `upstream` holds places in `calls`."""
    place = {old: new for new, old in enumerate(order)}
    index = {calls[old]: new for old, new in place.items()}
    sources = [tuple(sorted(place[one] for one in upstream[old])) for old in order]
    targets: list[list[int]] = [[] for _ in order]
    for new, found in enumerate(sources):
        for source in found:
            targets[source].append(new)
    spawns: dict[Call, list[int]] = {}
    for call in calls:
        for by in call.spawned_by or ():
            spawns.setdefault(by, []).append(index[call])
    nodes: list[TaskNode] = []
    for new, old in enumerate(order):
        node = _node(calls[old], index, upstream=sources[new], downstream=tuple(targets[new]), spawns=spawns)
        if _is_remote(node) or any(_is_remote(nodes[one]) for one in node.upstream):
            node = replace(node, is_deferred=True, reads=binding.result_indexes((node.args, node.kwargs)))
        nodes.append(node)
    return tuple(nodes)


def _is_remote(node: TaskNode) -> bool:
    return node.executor not in LOCAL_EXECUTORS


def _node(
    call: Call,
    index: Mapping[Call, int],
    *,
    upstream: tuple[int, ...],
    downstream: tuple[int, ...],
    spawns: Mapping[Call, Sequence[int]],
) -> TaskNode:
    task = call.task
    args, kwargs = refer((call.args, call.kwargs), index) if call.refers else (call.args, call.kwargs)
    options = task.options
    rule = options.rule()
    bind = binding.compile_call(args, kwargs)
    return TaskNode(
        task_id=call.task_id,
        index=index[call],
        function=task.function,
        is_coroutine=task.is_coroutine,
        executor=task.options.executor_for(is_coroutine=task.is_coroutine),
        context_parameter=task.context_parameters[0] if task.context_parameters else None,
        args=args,
        kwargs=kwargs or _NO_KEYWORDS,
        has_references=bind is not None,
        upstream=upstream,
        downstream=downstream,
        retry=task.options.retry_policy(call.group.default_retry or _NO_RETRY),
        timeout=task.options.time_limit(),
        policy=options.policy(),
        kind=task.kind,
        wait=task.wait,
        rule=rule,
        edges=_edges(call, index) or _NO_EDGES,
        mapped=_mapped(call, index),
        is_teardown=call.setups is not None,
        setups=tuple(sorted(index[setup] for setup in call.setups or ())),
        decides=call.decides,
        fate=call.fate,
        fate_of=tuple(sorted(index[one] for one in call.fate_of)),
        is_spawned=call.spawned_by is not None,
        spawns=tuple(sorted(spawns.get(call, ()))),
        line=call.line,
        resources=task.options.request().made(),
        bind=bind,
    )


def _edges(call: Call, index: Mapping[Call, int]) -> Mapping[int, Edge]:
    return {index[above]: edge for above, edge in call.edges.items() if edge.kind is not EdgeKind.SUCCESS}


def _mapped(call: Call, index: Mapping[Call, int]) -> MapSpec | None:
    if call.mapped is None:
        return None
    return MapSpec(
        values=tuple((name, refer(value, index)) for name, value in call.mapped.values.items()),
        is_product=call.mapped.is_product,
        min_success=call.task.options.min_success,
    )


def refer(tree: Any, index: Mapping[Call, int]) -> Any:
    """`tree` with references in place of handles."""
    match tree:
        case Output():
            return binding.ResultRef(index[tree.call], path_of(tree), tree.task_id)
        case Parameter():
            return binding.ParameterRef(name_of(tree), path_of(tree))
        case list():
            return [refer(one, index) for one in tree]
        case tuple():
            items = [refer(one, index) for one in tree]
            return type(tree)(*items) if hasattr(tree, "_fields") else tuple(items)
        case dict():
            return {key: refer(value, index) for key, value in tree.items()}
        case _:
            return tree


def version_of(source: str, nodes: Sequence[TaskNode], modules: Mapping[str, str] | None = None) -> str:
    """The version of a DAG with this text, graph, and texts of the modules beside it."""
    digest = hashlib.sha256(source.encode("utf-8", "surrogatepass"))
    for part in _shape(nodes):
        digest.update(part)
    for path, text in sorted((modules or {}).items()):  # without any, the version is as it always was
        digest.update(f"\0{path}\0{text}".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:12]


def _shape(nodes: Sequence[TaskNode]) -> Iterator[bytes]:
    """The graph as one JSON array, task by task: that of a wide graph as a whole is larger than the graph."""
    before = b"\0["
    for node in nodes:
        yield before
        yield orjson.dumps(
            (
                node.task_id,
                node.upstream,
                repr(node.retry),
                repr(node.timeout),
                _references((node.args, node.kwargs)),
                *_placement(node),
                *_meaning(node),
                *((repr(node.wait),) if node.wait is not None else ()),
                *((repr(node.policy),) if node.policy is not DEFAULT_POLICY else ()),
            )
        )
        before = b","
    yield b"]" if nodes else b"\0[]"


def _meaning(node: TaskNode) -> tuple[Any, ...]:
    """How a task depends on others, where it is not their success: other graphs keep the versions they had."""
    if node.is_plain and node.decides:
        return ()
    edges = [
        (above, edge.kind, "" if edge.condition is None else edge.condition.describe())
        for above, edge in sorted(node.edges.items())
    ]
    mapped = node.mapped
    spec = (
        None
        if mapped is None
        else (
            mapped.is_product,
            repr(mapped.min_success),
            [(name, _references(value)) for name, value in mapped.values],
        )
    )
    return (
        node.kind,
        node.rule,
        edges,
        spec,
        node.is_teardown,
        node.setups,
        node.decides,
        node.fate,
        node.fate_of,
        node.spawns,
    )


def _placement(node: TaskNode) -> tuple[str, ...]:
    """Where a task runs, when it says so: graphs that say nothing keep the versions they always had."""
    if node.executor == ("loop" if node.is_coroutine else "thread") and node.resources == NO_RESOURCES:
        return ()
    return (node.executor, repr(node.resources))


def _references(tree: Any) -> Any:
    """The references of a tree in order; constants are in the source text."""
    match tree:
        case binding.ResultRef():
            return [tree.index, *tree.path]
        case binding.ParameterRef():
            return [tree.name, *tree.path]
        case list() | tuple():
            return [found for one in tree if (found := _references(one))]
        case dict():
            return [found for one in tree.values() if (found := _references(one))]
        case _:
            return None
