"""What is drawn of a DAG, whatever the format: nodes with what is not plain about them, and lines between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tidemill.dag.definition import Dag, NodeKind, TaskNode
from tidemill.dag.edges import EdgeKind
from tidemill.dag.policy import TriggerRule

__all__ = ["Drawing", "Line", "Node", "drawing_of", "kind_of", "note_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One task."""

    name: str
    #: `task`, `branch`, `short_circuit`, `map`, `wait`, `teardown` or `callback`.
    kind: str = "task"
    #: What is not plain about it, in words.
    note: str = ""
    #: State of its task run, where a run is drawn.
    state: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """`below` waits for `above`; both are places in `Drawing.nodes`."""

    above: int
    below: int
    kind: EdgeKind = EdgeKind.SUCCESS
    #: The condition of a conditional one.
    label: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """A graph to be drawn; every line leads from a smaller place to a larger one."""

    title: str
    nodes: Sequence[Node]
    lines: Sequence[Line]


def drawing_of(
    dag: Dag,
    *,
    states: Mapping[str, str] | None = None,
    counts: Mapping[str, str] | None = None,
    title: str = "",
) -> Drawing:
    """What is drawn of a DAG; where a run of it is drawn with `states`, and `counts` of its maps, by task id."""
    known = states or {}
    nodes = [
        Node(
            name=node.task_id,
            kind=kind_of(node),
            note=", ".join(filter(None, [note_of(node), (counts or {}).get(node.task_id)])),
            state=known.get(node.task_id, ""),
        )
        for node in dag.tasks
    ]
    lines = [_line(node, above) for node in dag.tasks for above in node.upstream]
    return Drawing(title=title or dag.dag_id, nodes=nodes, lines=lines)


def kind_of(node: TaskNode) -> str:
    """What kind of task it is: see `Node.kind`."""
    if node.fate is not None:
        return "callback"
    if node.is_teardown:
        return "teardown"
    if node.mapped is not None or node.is_spawned:
        return "map"
    if node.wait is not None:
        return "wait"
    return node.kind.value


def note_of(node: TaskNode) -> str:
    """What is not plain about a task, in words."""
    notes = []
    if node.kind in (NodeKind.BRANCH, NodeKind.SHORT_CIRCUIT):
        notes.append(node.kind.value.replace("_", " "))
    if node.mapped is not None:
        names = (" x " if node.mapped.is_product else ", ").join(name for name, _ in node.mapped.values)
        notes.append(f"for each {names}" if names else "mapped")
    if node.wait is not None:
        notes.append(f"waits: {node.wait.kind}")
    if node.is_spawned:
        notes.append("spawned")
    if node.is_teardown:
        notes.append("teardown")
    if node.fate is not None:
        notes.append(f"on {node.fate}")
    if node.rule is not TriggerRule.ALL_SUCCESS:
        notes.append(node.rule.value)
    return ", ".join(notes)


def _line(node: TaskNode, above: int) -> Line:
    edge = node.edges.get(above)
    if edge is None:
        return Line(above=above, below=node.index)
    label = "" if edge.condition is None else edge.condition.describe()
    return Line(above=above, below=node.index, kind=edge.kind, label=label)
