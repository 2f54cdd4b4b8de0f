"""What an event must hold for a rule to have a chance: the keys under which `Index` files rules. Pure.

An anchor is a row of keys of which at least one must be found in every event that matches. A rule has several, or
none (then nothing but checking it tells).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import IntEnum
from typing import NamedTuple, assert_never

from tidemill.patterns.addresses import Block
from tidemill.patterns.branches import Branch
from tidemill.patterns.condition import (
    Absent,
    Alternative,
    Between,
    Equals,
    Like,
    Other,
    Prefix,
    Present,
    Suffix,
    Wildcard,
    Within,
)
from tidemill.patterns.expression import Attribute, Clause, Computed, Every, Expression, Not, Some
from tidemill.patterns.numbers import key_of
from tidemill.patterns.texts import fold

__all__ = ["Anchor", "Key", "Kind", "Sought", "alternatives_anchors", "find_anchors", "is_proof"]


class Kind(IntEnum):
    """What a key asks of the value at its path; the lower, the more it tells."""

    EQUALS = 0
    LIKE = 1
    BLOCK = 2
    PREFIX = 3
    SUFFIX = 4
    LIKE_PREFIX = 5
    LIKE_SUFFIX = 6
    CONTAINS = 7
    RANGE = 8
    PRESENT = 9


#: The key of a value, a text, a block of addresses, the low and high end of a range, or None.
Sought = str | int | float | Block | tuple[float, float] | tuple[bool] | tuple[int, int] | None


class Key(NamedTuple):
    """One thing that an index looks up."""

    kind: Kind
    path: str
    sought: Sought


Anchor = tuple[Key, ...]


def find_anchors(expression: Expression) -> Iterator[Anchor]:
    """Every anchor of `expression`."""
    match expression:
        case Clause(branches):
            yield from _of_choice([list(_of_branch(branch)) for branch in branches])
        case Attribute(name, wanted):
            yield from alternatives_anchors(name, (wanted,))
        case Computed(conditions=conditions):
            if conditions is not None:
                yield from find_anchors(conditions)
        case Every(parts):
            for part in parts:
                yield from find_anchors(part)
        case Some(parts):
            yield from _of_choice([list(find_anchors(part)) for part in parts])
        case Not():
            return
        case _:
            assert_never(expression)


def alternatives_anchors(path: str, alternatives: Sequence[Alternative]) -> Iterator[Anchor]:
    """The anchors of a condition on one field."""
    if len(alternatives) == 1:
        for key in _keys(path, alternatives[0]):
            yield (key,)
        return
    best: list[Key] = []
    for one in alternatives:
        keys = _keys(path, one)
        if not keys:
            return
        best.append(min(keys, key=_vagueness))
    if any(key.kind is Kind.PRESENT for key in best):
        yield (Key(Kind.PRESENT, path, None),)
    else:
        yield tuple(dict.fromkeys(best))


def is_proof(alternatives: Sequence[Alternative]) -> bool:
    """Whether finding a key of the anchor of `alternatives` says all that they ask."""
    return all(
        isinstance(one, Equals | Within | Between | Present)
        or (isinstance(one, Prefix) and one.prefix)
        or (isinstance(one, Suffix) and one.suffix)
        for one in alternatives
    )


def _of_branch(branch: Branch) -> Iterator[Anchor]:
    for condition in branch.conditions:
        yield from alternatives_anchors(condition.path, condition.alternatives)


def _of_choice(arms: list[list[Anchor]]) -> Iterator[Anchor]:
    """One of the arms holds, so one key of an anchor of each: the most telling anchor of each arm."""
    if arms and all(arms):
        best = (min(anchors, key=lambda one: (max(map(_vagueness, one)), len(one))) for anchors in arms)
        yield tuple(dict.fromkeys(key for anchor in best for key in anchor))


def _vagueness(key: Key) -> tuple[int, int]:
    length = len(key.sought) if isinstance(key.sought, str) and key.kind > Kind.EQUALS else 0
    return key.kind, -length


def _keys(path: str, wanted: Alternative) -> list[Key]:
    """The keys of which each is found wherever `wanted` holds; none where it may hold without a value."""
    match wanted:
        case Equals(value):
            return [Key(Kind.EQUALS, path, key_of(value))]
        case Prefix(text) if text:
            return [Key(Kind.PREFIX, path, text)]
        case Suffix(text) if text:
            return [Key(Kind.SUFFIX, path, text)]
        case Within(block):
            return [Key(Kind.BLOCK, path, block)]
        case Between(low=low, high=high):
            return [Key(Kind.RANGE, path, (low, high))]
        case Like(text, part) if text and (folded := fold(text)) is not None:
            kind = {"equals": Kind.LIKE, "prefix": Kind.LIKE_PREFIX, "suffix": Kind.LIKE_SUFFIX}[part]
            return [Key(kind, path, folded)]
        case Wildcard(pieces):
            return _wildcard_keys(path, pieces)
        case Prefix() | Suffix() | Like() | Other() | Present():
            return [Key(Kind.PRESENT, path, None)]
        case Absent():
            return []
        case _:
            assert_never(wanted)


def _wildcard_keys(path: str, pieces: Sequence[str]) -> list[Key]:
    if len(pieces) == 1:
        return [Key(Kind.EQUALS, path, pieces[0])]
    head, *inner, tail = pieces
    keys = [Key(Kind.PREFIX, path, head)] if head else []
    if tail:
        keys.append(Key(Kind.SUFFIX, path, tail))
    longest = max(inner, key=len, default="")
    if longest:
        keys.append(Key(Kind.CONTAINS, path, longest))
    return keys or [Key(Kind.PRESENT, path, None)]
