"""A drawing as DOT, Graphviz's language."""

from __future__ import annotations

from tidemill.dag.edges import EdgeKind
from tidemill.dag.picture.colours import COLOURS
from tidemill.dag.picture.drawing import Drawing, Line, Node

__all__ = ["dot"]

_SHAPES = {
    "branch": "diamond",
    "short_circuit": "diamond",
    "map": "box3d",
    "wait": "oval",
    "teardown": "house",
    "callback": "note",
}
_STYLES = {
    EdgeKind.SUCCESS: "",
    EdgeKind.COMPLETION: 'style="dashed"',
    EdgeKind.FAILURE: 'color="#cf222e"',
    EdgeKind.CONDITION: 'style="dotted"',
}


def dot(drawing: Drawing) -> str:
    """The drawing as a directed graph from left to right."""
    made = [f"digraph {_text(drawing.title)} {{", "  rankdir=LR;", '  node [fontname="sans-serif"];']
    made += [f"  t{number} [{_node(node)}];" for number, node in enumerate(drawing.nodes)]
    made += [f"  t{line.above} -> t{line.below}{_line(line)};" for line in drawing.lines]
    return "\n".join([*made, "}", ""])


def _node(node: Node) -> str:
    second = ", ".join(part for part in (node.state, node.note) if part)
    parts = [f"label={_text(node.name, second)}", f'shape="{_SHAPES.get(node.kind, "box")}"']
    if node.state in COLOURS:
        parts.append(f'style="filled" fillcolor="{COLOURS[node.state][0]}"')
    return " ".join(parts)


def _line(line: Line) -> str:
    label = line.label or ("" if line.kind is EdgeKind.SUCCESS else line.kind.value)
    parts = [_STYLES[line.kind], f"label={_text(label)}" if label else ""]
    told = " ".join(part for part in parts if part)
    return f" [{told}]" if told else ""


def _text(*lines: str) -> str:
    """A quoted string of one line or more."""
    kept = ["".join(sign if sign.isprintable() else " " for sign in line) for line in lines if line]
    return '"' + "\\n".join(line.replace("\\", "\\\\").replace('"', '\\"') for line in kept) + '"'
