"""Where the nodes and lines of a drawing go: columns from left to right, few crossings, the same every time.

1. A node's column is one behind the last of those above it.
2. A line over several columns passes through each of them, as if there were a node.
3. Within a column the order follows the middle of the neighbours', in a fixed number of sweeps; ties keep their order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Layout", "Point", "arrange"]

Point = tuple[float, float]

_SWEEPS = 6
#: Places between columns that lines pass through, at most; lines of a graph with more go straight.
_MAX_PASSED = 5000
#: Space that a line takes where it passes a column, in the height of a node.
_THIN = 0.35


@dataclass(frozen=True, slots=True)
class Layout:
    """Columns, and heights in units of one node."""

    #: Column of each node.
    columns: Sequence[int]
    #: Height of each node's middle.
    heights: Sequence[float]
    #: Column and height of each place that a line passes between its ends, by line.
    passed: Sequence[Sequence[tuple[int, float]]]


def arrange(size: int, lines: Sequence[tuple[int, int]]) -> Layout:
    """The layout of `size` nodes and (above, below) lines, each from a smaller to a larger place."""
    columns = _columns(size, lines)
    spans = sum(columns[below] - columns[above] - 1 for above, below in lines)
    places = list(columns)
    joined: list[tuple[int, int]] = []
    passes: list[list[int]] = [[] for _ in lines]
    for number, (above, below) in enumerate(lines):
        last = above
        for column in range(columns[above] + 1, columns[below]) if spans <= _MAX_PASSED else ():
            places.append(column)
            passes[number].append(len(places) - 1)
            joined.append((last, len(places) - 1))
            last = len(places) - 1
        if spans <= _MAX_PASSED or columns[below] - columns[above] == 1:
            joined.append((last, below))
    heights = _heights(places, joined, size)
    return Layout(
        columns,
        heights[:size],
        [[(places[one], heights[one]) for one in passing] for passing in passes],
    )


def _columns(size: int, lines: Sequence[tuple[int, int]]) -> list[int]:
    above: list[list[int]] = [[] for _ in range(size)]
    for upper, lower in lines:
        above[lower].append(upper)
    columns: list[int] = []
    for sources in above:
        columns.append(1 + max((columns[one] for one in sources), default=-1))
    return columns


def _heights(places: Sequence[int], lines: Sequence[tuple[int, int]], size: int) -> list[float]:
    left: list[list[int]] = [[] for _ in places]
    right: list[list[int]] = [[] for _ in places]
    for above, below in lines:
        left[below].append(above)
        right[above].append(below)
    layers: list[list[int]] = [[] for _ in range(max(places, default=-1) + 1)]
    for place, column in enumerate(places):
        layers[column].append(place)
    rank = {place: float(number) for layer in layers for number, place in enumerate(layer)}
    for sweep in range(_SWEEPS):
        forward = sweep % 2 == 0
        for layer in layers if forward else reversed(layers):
            near = left if forward else right
            layer.sort(key=lambda place: (_middle(near[place], rank, rank[place]), rank[place]))
            rank.update({place: float(number) for number, place in enumerate(layer)})
    return _placed(layers, left, right, size)


def _middle(near: Sequence[int], rank: dict[int, float], own: float) -> float:
    return sum(rank[one] for one in near) / len(near) if near else own


def _placed(
    layers: Sequence[Sequence[int]], left: Sequence[Sequence[int]], right: Sequence[Sequence[int]], size: int
) -> list[float]:
    """Heights that keep the order within each column and pull neighbours level."""
    heights = [0.0] * len(left)
    for layer in layers:
        _spread(layer, [float(number) for number in range(len(layer))], heights, size)
    for sweep in range(_SWEEPS):
        forward = sweep % 2 == 0
        for layer in layers if forward else reversed(layers):
            near = left if forward else right
            wanted = [
                sum(heights[one] for one in near[place]) / len(near[place]) if near[place] else heights[place]
                for place in layer
            ]
            _spread(layer, wanted, heights, size)
    lowest = min(heights, default=0.0)
    return [round(height - lowest, 3) for height in heights]


def _spread(layer: Sequence[int], wanted: Sequence[float], heights: list[float], size: int) -> None:
    """Put a column's places where they want to be, as far as they leave each other room; their middle stays."""
    placed: list[float] = []
    below = None
    for place, height in zip(layer, wanted, strict=True):
        room = 0.0 if below is None else _room(below[0], size) + _room(place, size)
        at = height if below is None else max(height, below[1] + room)
        placed.append(at)
        below = (place, at)
    shift = sum(wanted) / len(wanted) - sum(placed) / len(placed) if placed else 0.0
    for place, at in zip(layer, placed, strict=True):
        heights[place] = at + shift


def _room(place: int, size: int) -> float:
    return 0.5 if place < size else _THIN / 2
