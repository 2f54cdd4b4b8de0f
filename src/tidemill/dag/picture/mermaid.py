"""A drawing as Mermaid, which code hosts draw in Markdown."""

from __future__ import annotations

import re

from tidemill.dag.edges import EdgeKind
from tidemill.dag.picture.colours import COLOURS
from tidemill.dag.picture.drawing import Drawing, Line, Node

__all__ = ["mermaid"]

#: What has a meaning in a quoted text, or in the HTML that is made of it.
_SPECIAL = re.compile(r'[#"&<>`\\|]|[^\S ]|[\x00-\x1f\x7f]')
_SHAPES = {
    "branch": ("{{", "}}"),
    "short_circuit": ("{{", "}}"),
    "map": ("[[", "]]"),
    "wait": ("([", "])"),
    "teardown": ("[/", "/]"),
    "callback": (">", "]"),
}
_ARROWS = {
    EdgeKind.SUCCESS: "-->",
    EdgeKind.COMPLETION: "-.->",
    EdgeKind.FAILURE: "==>",
    EdgeKind.CONDITION: "-.->",
}


def mermaid(drawing: Drawing) -> str:
    """The drawing as a flowchart from left to right."""
    made = ["flowchart LR"]
    made += [_node(number, node) for number, node in enumerate(drawing.nodes)]
    made += [_line(line) for line in drawing.lines]
    for state in sorted({node.state for node in drawing.nodes} & COLOURS.keys()):
        names = ",".join(f"t{n}" for n, node in enumerate(drawing.nodes) if node.state == state)
        fill, stroke = COLOURS[state]
        made += [f"  classDef {state} fill:{fill},stroke:{stroke}", f"  class {names} {state}"]
    return "\n".join([*made, ""])


def _node(number: int, node: Node) -> str:
    begin, end = _SHAPES.get(node.kind, ("[", "]"))
    second = ", ".join(part for part in (node.state, node.note) if part)
    text = _text(node.name) + (f"<br/>{_text(second)}" if second else "")
    return f'  t{number}{begin}"{text}"{end}'


def _line(line: Line) -> str:
    label = line.label or ("" if line.kind is EdgeKind.SUCCESS else line.kind.value)
    told = f'|"{_text(label)}"|' if label else ""
    return f"  t{line.above} {_ARROWS[line.kind]}{told} t{line.below}"


def _text(text: str) -> str:
    return _SPECIAL.sub(lambda found: f"#{ord(found[0])};" if ord(found[0]) > 31 else " ", text)
