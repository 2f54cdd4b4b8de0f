"""A drawing as SVG: no scripts, no links, nothing from outside; every text of the user's is escaped."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from itertools import pairwise
from xml.sax.saxutils import escape

from tidemill.dag.edges import EdgeKind
from tidemill.dag.picture.colours import COLOURS, PLAIN
from tidemill.dag.picture.drawing import Drawing, Line, Node
from tidemill.dag.picture.layout import Layout, Point, arrange

__all__ = ["svg"]

_BOX = 46.0
_ROW = 66.0
_GAP = 90.0
_MARGIN = 20.0
_TITLE = 24.0
#: Longest text of a node or line, in characters.
_LONGEST = 40

_STROKES = {
    EdgeKind.SUCCESS: ("#57606a", ""),
    EdgeKind.COMPLETION: ("#57606a", "6 4"),
    EdgeKind.FAILURE: ("#cf222e", ""),
    EdgeKind.CONDITION: ("#8250df", "2 3"),
}


def svg(drawing: Drawing) -> str:
    """The drawing, from left to right."""
    layout = arrange(len(drawing.nodes), [(line.above, line.below) for line in drawing.lines])
    frame = _Frame(drawing, layout)
    width, height = f"{frame.width:.0f}", f"{frame.height:.0f}"
    box = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    place = f'x="{_MARGIN:.0f}" y="{_MARGIN:.0f}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {box} role="img" font-family="sans-serif">',
        f"<title>{_text(drawing.title)}</title>",
        "<defs>",
        *(_arrow(kind) for kind in EdgeKind),
        "</defs>",
        f'<text {place} font-size="14" font-weight="bold" fill="#24292f">{_text(drawing.title)}</text>',
    ]
    for number, line in enumerate(drawing.lines):
        parts += frame.line(number, line)
    for number, node in enumerate(drawing.nodes):
        parts += frame.node(number, node)
    return "\n".join([*parts, "</svg>", ""])


class _Frame:
    """From columns and heights to points."""

    def __init__(self, drawing: Drawing, layout: Layout) -> None:
        self._layout = layout
        widths = [0.0] * (max(layout.columns, default=-1) + 1)
        for node, column in zip(drawing.nodes, layout.columns, strict=True):
            widths[column] = max(widths[column], _box_width(node))
        self._widths = widths
        self._lefts: list[float] = []
        left = _MARGIN
        for width in widths:
            self._lefts.append(left)
            left += width + _GAP
        title = _width(drawing.title, 8.5) + 2 * _MARGIN
        self.width = max(left - _GAP + _MARGIN, title)
        heights = [*layout.heights, *(height for line in layout.passed for _, height in line)]
        self.height = _TITLE + 2 * _MARGIN + _ROW * max(heights, default=0.0) + _BOX

    def _middle(self, height: float) -> float:
        return _TITLE + _MARGIN + _BOX / 2 + height * _ROW

    def line(self, number: int, line: Line) -> list[str]:
        """A line, with its condition."""
        layout = self._layout
        above, below = layout.columns[line.above], layout.columns[line.below]
        points: list[Point] = [
            (self._lefts[above] + self._widths[above], self._middle(layout.heights[line.above]))
        ]
        for column, height in layout.passed[number]:
            middle = self._middle(height)
            points += [(self._lefts[column], middle), (self._lefts[column] + self._widths[column], middle)]
        points.append((self._lefts[below] - 2, self._middle(layout.heights[line.below])))
        colour, dashes = _STROKES[line.kind]
        dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
        drawn = (
            f'fill="none" stroke="{colour}" stroke-width="1.4"{dashed} marker-end="url(#{line.kind.value})"'
        )
        made = [f'<path d="{_curve(points)}" {drawn}/>']
        label = line.label or ("" if line.kind is EdgeKind.SUCCESS else line.kind.value)
        if label:
            (x, y), (to_x, to_y) = points[-2], points[-1]
            made.append(
                f'<text x="{(x + to_x) / 2:.1f}" y="{(y + to_y) / 2 - 5:.1f}" font-size="10" fill="{colour}" '
                f'text-anchor="middle">{_text(_short(label, 24))}</text>'
            )
        return made

    def node(self, number: int, node: Node) -> list[str]:
        """A box with the name, what is not plain about the task, and its state."""
        column = self._layout.columns[number]
        x, middle = self._lefts[column], self._middle(self._layout.heights[number])
        width = self._widths[column]
        fill, stroke = COLOURS.get(node.state, PLAIN)
        round_ = {"branch": 23, "short_circuit": 23, "teardown": 2}.get(node.kind, 8)
        dashed = ' stroke-dasharray="4 3"' if node.kind in ("callback", "teardown") else ""
        second = ", ".join(part for part in (node.state, node.note) if part)
        made = ["<g>", f"<title>{_text(', '.join(part for part in (node.name, second) if part))}</title>"]
        if node.kind == "map":
            made.append(_rect(x + 4, middle - _BOX / 2 - 4, width, round_, fill, stroke, dashed))
        made.append(_rect(x, middle - _BOX / 2, width, round_, fill, stroke, dashed))
        centre = x + width / 2
        made.append(
            f'<text x="{centre:.1f}" y="{middle + (-1 if second else 4):.1f}" font-size="13" '
            f'text-anchor="middle" fill="#24292f">{_text(_short(node.name, _LONGEST))}</text>'
        )
        if second:
            made.append(
                f'<text x="{centre:.1f}" y="{middle + 14:.1f}" font-size="10" text-anchor="middle" '
                f'fill="#57606a">{_text(_short(second, _LONGEST))}</text>'
            )
        return [*made, "</g>"]


def _rect(x: float, y: float, width: float, round_: int, fill: str, stroke: str, dashed: str) -> str:
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{_BOX:.0f}" rx="{round_}" fill="{fill}" '
        f'stroke="{stroke}" stroke-width="1.5"{dashed}/>'
    )


def _curve(points: Sequence[Point]) -> str:
    made = [f"M{points[0][0]:.1f},{points[0][1]:.1f}"]
    for (x, y), (to_x, to_y) in pairwise(points):
        if y == to_y:
            made.append(f"L{to_x:.1f},{to_y:.1f}")
        else:
            bend = (x + to_x) / 2
            made.append(f"C{bend:.1f},{y:.1f} {bend:.1f},{to_y:.1f} {to_x:.1f},{to_y:.1f}")
    return " ".join(made)


def _arrow(kind: EdgeKind) -> str:
    return (
        f'<marker id="{kind.value}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        f'orient="auto"><path d="M0,0 L8,4 L0,8 z" fill="{_STROKES[kind][0]}"/></marker>'
    )


def _box_width(node: Node) -> float:
    second = ", ".join(part for part in (node.state, node.note) if part)
    return max(80.0, _width(_short(node.name, _LONGEST), 7.6), _width(_short(second, _LONGEST), 5.8)) + 20


def _width(text: str, letter: float) -> float:
    return sum(letter * (1.7 if unicodedata.east_asian_width(sign) in "WF" else 1.0) for sign in text)


def _short(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _text(text: str) -> str:
    """As XML takes it: no character that XML forbids."""
    kept = "".join(sign if sign.isprintable() else " " for sign in text)
    return escape(kept, {'"': "&quot;"})
