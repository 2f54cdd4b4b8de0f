"""Joining field trees: one tree that holds where all of them hold. Pure.

Conditions below one field stand in one tree, so that in an array they speak of one element. Therefore, where
an arm of `$or` speaks of a field that its neighbours speak of too, the neighbours move into every arm.
"""

from __future__ import annotations

from collections.abc import Iterable

from tidemill.patterns.fields import Leaf, Node

__all__ = ["MAX_COMBINATIONS", "TooManyCombinations", "join"]

#: Most fields that are looked at while joining; what is written has fewer, moving them into arms multiplies.
MAX_COMBINATIONS = 40_000


class TooManyCombinations(Exception):  # noqa: N818 - carries one problem to the compiler
    """The arms of `$or` and the fields beside them multiply past `MAX_COMBINATIONS`."""

    def __init__(self) -> None:
        super().__init__("$or and the same fields beside it make too many combinations; split the rule")


def join(nodes: Iterable[Node]) -> Node:
    """The tree that holds where all of `nodes` hold; raises `TooManyCombinations`."""
    return _Joiner().join(nodes)


class _Joiner:
    def __init__(self) -> None:
        self._joined = 0

    def join(self, nodes: Iterable[Node]) -> Node:
        by_name: dict[str, list[Node]] = {}
        leaves: list[Leaf] = []
        groups: list[tuple[Node, ...]] = []
        for node in nodes:
            self._count(len(node.fields) + len(node.groups))
            for name, below in node.fields.items():
                by_name.setdefault(name, []).append(below)
            leaves.extend(node.leaves)
            groups.extend(node.groups)
        fields = {name: some[0] if len(some) == 1 else self.join(some) for name, some in by_name.items()}
        joined = Node(fields=fields, leaves=tuple(leaves))
        for group in groups:
            joined = self._attach(joined, group)
        return joined

    def _attach(self, node: Node, group: tuple[Node, ...]) -> Node:
        names: set[str] = set().union(*(arm.names() for arm in group))
        self._count(len(names) + len(group))
        if names.isdisjoint(node.names()):
            return Node(fields=node.fields, leaves=node.leaves, groups=(*node.groups, group))
        neighbours = Node(fields=node.fields, groups=node.groups)
        arms = tuple(self.join((neighbours, arm)) for arm in group)
        return Node(leaves=node.leaves, groups=(arms,))

    def _count(self, fields: int) -> None:
        self._joined += fields
        if self._joined > MAX_COMBINATIONS:
            raise TooManyCombinations
