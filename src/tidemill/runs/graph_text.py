"""The graph of a version as it is kept beside its source: enough to fold a history without the user's code. Pure.

A row a task, in topological order: its id, the ids it waits for, and what is not plain about it. Old rows have the
first two only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from tidemill.dag.definition import Dag, MapSpec, NodeKind, TaskNode
from tidemill.dag.edges import Condition, Edge, EdgeKind
from tidemill.dag.parameters import Parameters
from tidemill.dag.policy import TaskPolicy, TriggerRule
from tidemill.dag.retry import Retry

__all__ = ["decode_graph", "encode_graph"]


def encode_graph(dag: Dag) -> bytes:
    """The stored form of a DAG's graph."""
    names = [node.task_id for node in dag.tasks]
    rows: list[list[Any]] = []
    for node in dag.tasks:
        row: list[Any] = [node.task_id, [names[above] for above in node.upstream]]
        if not (node.is_plain and node.decides):
            row.append(_meaning(node, names))
        rows.append(row)
    return orjson.dumps(rows)


def decode_graph(graph: bytes, *, dag_id: str = "", version: str = "") -> Dag:
    """A DAG with this graph, and nothing in it that could be called."""
    rows = orjson.loads(graph)
    index = {row[0]: place for place, row in enumerate(rows)}
    downstream: list[list[int]] = [[] for _ in rows]
    for place, row in enumerate(rows):
        for above in row[1]:
            downstream[index[above]].append(place)
    tasks = tuple(
        TaskNode(
            task_id=row[0],
            index=place,
            function=_nothing,
            is_coroutine=False,
            executor="thread",
            context_parameter=None,
            args=(),
            kwargs={},
            has_references=False,
            upstream=tuple(index[above] for above in row[1]),
            downstream=tuple(downstream[place]),
            retry=_RETRY,
            **(_read(row[2], index) if len(row) > 2 else {}),
        )
        for place, row in enumerate(rows)
    )
    return Dag(
        dag_id=dag_id,
        version=version,
        tasks=tasks,
        index=index,
        roots=tuple(node.index for node in tasks if not node.upstream),
        output=None,
        parameters=Parameters(),
    )


_RETRY = Retry()


def _nothing() -> None:
    """Stands where the user's function was."""


def _meaning(node: TaskNode, names: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {"kind": node.kind, "rule": node.rule, "decides": node.decides}
    if node.edges:
        found["edges"] = {
            names[above]: [edge.kind, "" if edge.condition is None else edge.condition.describe()]
            for above, edge in node.edges.items()
        }
    if node.mapped is not None:
        found["mapped"] = {
            "names": [name for name, _ in node.mapped.values],
            "is_product": node.mapped.is_product,
            "is_spawned": node.is_spawned,
            "min_success": node.mapped.min_success,
            "window": node.policy.max_active_per_run,
        }
    if node.wait is not None:
        found["wait"] = node.wait.kind
    if node.is_teardown:
        found["setups"] = [names[setup] for setup in node.setups]
    if node.spawns:
        found["spawns"] = [names[one] for one in node.spawns]
    if node.fate is not None:
        found["fate"] = node.fate
        found["fate_of"] = [names[one] for one in node.fate_of]
    return found


def _read(found: Mapping[str, Any], index: Mapping[str, int]) -> dict[str, Any]:
    mapped = found.get("mapped")
    return {
        "kind": NodeKind(found["kind"]),
        "rule": TriggerRule(found["rule"]),
        "decides": found["decides"],
        "edges": {index[name]: _edge(*edge) for name, edge in found.get("edges", {}).items()},
        "mapped": None
        if mapped is None
        else MapSpec(
            values=tuple((name, None) for name in mapped["names"]),
            is_product=mapped["is_product"],
            min_success=mapped["min_success"],
        ),
        "policy": TaskPolicy(max_active_per_run=None if mapped is None else mapped["window"]),
        "is_spawned": mapped is not None and mapped.get("is_spawned", False),
        "is_teardown": "setups" in found,
        "setups": tuple(index[name] for name in found.get("setups", ())),
        "spawns": tuple(index[name] for name in found.get("spawns", ())),
        "fate": found.get("fate"),
        "fate_of": tuple(index[name] for name in found.get("fate_of", ())),
    }


def _edge(kind: str, text: str) -> Edge:
    return Edge(EdgeKind(kind), Condition(expression=text) if kind == EdgeKind.CONDITION else None)
