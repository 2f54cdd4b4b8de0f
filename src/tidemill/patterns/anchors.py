"""What an event must hold for a rule to have a chance: the keys under which `Index` files rules. Pure.

An anchor is a set of keys of which at least one must be found in every event that matches. A rule has
several, or none (then nothing but checking it tells).
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple, assert_never

from tidemill.patterns.condition import Absent, Alternative, Between, Equals, Predicate, Prefix
from tidemill.patterns.expression import Attribute, Clause, Every, Expression, Not, Some
from tidemill.patterns.fields import Node

__all__ = ["Anchor", "Key", "Kind", "Path", "find_anchors"]

Path = tuple[str, ...]


class Kind(IntEnum):
    """What a key asks of the value at its path; the lower, the more it tells."""

    EQUALS = 0
    PREFIX = 1
    RANGE = 2
    PRESENT = 3


class Key(NamedTuple):
    """One thing that an index looks up."""

    kind: Kind
    path: Path
    #: The value, the prefix, the low and high end, or None.
    value: str | int | float | bool | tuple[float, float] | None


Anchor = frozenset[Key]


def find_anchors(expression: Expression) -> Iterator[Anchor]:
    """Every anchor of `expression`."""
    match expression:
        case Clause(node):
            yield from _of_node(node, ())
        case Attribute(name, wanted):
            yield frozenset({_key((name,), wanted)})
        case Every(parts):
            for part in parts:
                yield from find_anchors(part)
        case Some(parts):
            yield from _of_choice([list(find_anchors(part)) for part in parts])
        case Not():
            return
        case _:
            assert_never(expression)


def _of_node(node: Node, path: Path) -> Iterator[Anchor]:
    for leaf in node.leaves:
        if not leaf.accepts_absence:
            yield frozenset(_key(path, one) for one in leaf.alternatives)
    for name, below in node.fields.items():
        yield from _of_node(below, (*path, name))
    for group in node.groups:
        yield from _of_choice([list(_of_node(arm, path)) for arm in group])


def _of_choice(arms: list[list[Anchor]]) -> Iterator[Anchor]:
    """One of the arms holds, so one key of an anchor of each: the most telling anchor of each arm."""
    if all(arms):
        yield frozenset().union(*(min(anchors, key=_vagueness) for anchors in arms))


def _vagueness(anchor: Anchor) -> tuple[int, int]:
    return max(key.kind for key in anchor), len(anchor)


def _key(path: Path, wanted: Alternative) -> Key:
    match wanted:
        case Equals(value):
            return Key(Kind.EQUALS, path, value)
        case Prefix(prefix) if prefix:
            return Key(Kind.PREFIX, path, prefix)
        case Between(low=low, high=high):
            return Key(Kind.RANGE, path, (low, high))
        case Prefix() | Predicate() | Absent():
            return Key(Kind.PRESENT, path, None)
        case _:
            assert_never(wanted)
