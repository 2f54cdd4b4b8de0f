"""The one clause form of content patterns: a tree of fields with what their values must be. Pure.

How a tree is answered, and why:

1. A field is a path; a dot in a key divides like a nesting, in the pattern and in the event alike.
2. An answer is FAILS, ABSENT (holds, and only because nothing is there) or FOUND (holds by a value). A field
   that is not there is ABSENT where it has an `exists: false`, else it fails.
3. An object is FAILS if one of its fields fails, FOUND if one is found, else ABSENT.
4. An array of objects is FOUND if one element is, which keeps conditions on one element together; it is
   ABSENT if every element is (so a lone `exists: false` speaks of all elements); else it fails.
5. An array of scalars is FOUND if one element passes; what has no scalar in it is not there.

Rule 4 makes the cost at most fields times values, whatever the event is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field

from tidemill.events.event import JSON
from tidemill.patterns.condition import Absent, Alternative, Test, compile_test

__all__ = ["ABSENT", "FAILS", "FOUND", "Answer", "Leaf", "Node", "compile_node", "scalars", "undotted"]

#: Does not hold.
FAILS = 0
#: Holds, and only because nothing is there.
ABSENT = 1
#: Holds by a value that is there.
FOUND = 2

Answer = Callable[[JSON], int]


@dataclass(frozen=True, slots=True, eq=False)
class Leaf:
    """What the value of one field must be: any of `alternatives`."""

    alternatives: tuple[Alternative, ...]

    @property
    def accepts_absence(self) -> bool:
        """Whether the leaf holds where there is no value."""
        return any(isinstance(one, Absent) for one in self.alternatives)

    def __str__(self) -> str:
        return " or ".join(str(one) for one in self.alternatives)


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """What one place of the event must hold: all of its leaves, fields and groups."""

    fields: Mapping[str, Node] = field(default_factory=dict)
    #: Conditions on the value itself.
    leaves: tuple[Leaf, ...] = ()
    #: `$or`: of each group at least one must hold.
    groups: tuple[tuple[Node, ...], ...] = ()

    @property
    def accepts_absence(self) -> bool:
        """Whether the node holds where there is nothing at all."""
        return (
            all(leaf.accepts_absence for leaf in self.leaves)
            and all(node.accepts_absence for node in self.fields.values())
            and all(any(arm.accepts_absence for arm in group) for group in self.groups)
        )

    def names(self) -> set[str]:
        """First path segments that the node or one of its groups speaks of."""
        return set(self.fields).union(*(arm.names() for group in self.groups for arm in group))


def compile_node(node: Node) -> Answer:
    """The function that answers `node` for a value that is there."""
    answers = [_compile_leaf(leaf) for leaf in node.leaves]
    if node.fields or node.groups:
        answers.append(_compile_object(node))
    if len(answers) == 1:
        return answers[0]

    def answer(value: JSON) -> int:
        found = [one(value) for one in answers]
        return FAILS if FAILS in found else max(found)

    return answer


def scalars(value: JSON) -> Iterator[JSON]:
    """The scalars that `value` stands for: itself, or those of an array to any depth; none of an object."""
    pending = [value]
    while pending:
        one = pending.pop()
        if type(one) is list:
            pending.extend(reversed(one))
        elif type(one) is not dict:
            yield one


def undotted(value: Mapping[str, JSON], keys: Set[str]) -> dict[str, JSON]:
    """`value` with its dotted `keys` opened: {"a.b": 1} becomes {"a": {"b": 1}}; what meets is merged.

    Longest first, so that a large object of the event is merged at most once per nesting of the pattern.
    """
    opened: dict[str, JSON] = {}
    for key in sorted(keys & value.keys(), key=lambda key: -key.count(".")):
        inner: JSON = value[key]
        first, *rest = key.split(".")
        for name in reversed(rest):
            inner = {name: inner}
        _merge_into(opened, {first: inner})
    _merge_into(opened, value)
    return opened


def _merge_into(target: dict[str, JSON], other: Mapping[str, JSON]) -> None:
    for key, value in other.items():
        if key not in target:
            target[key] = value
        elif isinstance(target[key], dict) and isinstance(value, dict):
            merged = dict(target[key])
            _merge_into(merged, value)
            target[key] = merged
        else:
            target[key] = [target[key], value]


# ── compiling ─────────────────────────────────────────────────────────────────────────────────────────────


def _compile_leaf(leaf: Leaf) -> Answer:
    test: Test = compile_test(leaf.alternatives)
    absent = ABSENT if leaf.accepts_absence else FAILS

    def answer(value: JSON) -> int:
        kind = type(value)
        if kind is list or kind is dict:
            return _answer_scalars(test, value, absent)
        return FOUND if test(value) else FAILS

    return answer


def _answer_scalars(test: Test, value: JSON, absent: int) -> int:
    seen = False
    for one in scalars(value):
        if test(one):
            return FOUND
        seen = True
    return FAILS if seen else absent


def _compile_object(node: Node) -> Answer:
    absent = ABSENT if Node(fields=node.fields, groups=node.groups).accepts_absence else FAILS
    dotted = frozenset(path for path in _paths(node) if "." in path)
    fields = [
        (name, compile_node(one), ABSENT if one.accepts_absence else FAILS)
        for name, one in node.fields.items()
    ]
    groups = [[_compile_object(arm) for arm in group] for group in node.groups]
    if len(fields) == 1 and not groups and not dotted:
        return _single_field(*fields[0], absent)

    def answer(value: JSON) -> int:
        if type(value) is not dict:
            return _answer_elements(answer, value, absent) if type(value) is list else absent
        if dotted and not dotted.isdisjoint(value):
            value = undotted(value, dotted)
        found = ABSENT
        for name, one, missing in fields:
            here = one(value[name]) if name in value else missing
            if not here:
                return FAILS
            if here == FOUND:
                found = FOUND
        for group in groups:
            here = _answer_group(group, value)
            if not here:
                return FAILS
            if here == FOUND:
                found = FOUND
        return found

    return answer


def _single_field(name: str, below: Answer, missing: int, absent: int) -> Answer:
    """The most frequent object, without the loops."""

    def answer(value: JSON) -> int:
        if type(value) is not dict:
            return _answer_elements(answer, value, absent) if type(value) is list else absent
        return below(value[name]) if name in value else missing

    return answer


def _answer_elements(answer: Answer, value: JSON, absent: int) -> int:
    """Rule 4; arrays inside arrays count as one array."""
    pending, all_absent = [value], True
    while pending:
        for one in pending.pop():
            if type(one) is list:
                pending.append(one)
                continue
            here = answer(one)
            if here == FOUND:
                return FOUND
            all_absent = all_absent and here == ABSENT
    return absent if all_absent else FAILS


def _answer_group(group: Sequence[Answer], value: JSON) -> int:
    best = FAILS
    for arm in group:
        here = arm(value)
        if here == FOUND:
            return FOUND
        if here:
            best = here
    return best


def _paths(node: Node) -> Iterator[str]:
    """The paths below `node`, dotted: an object may spell any of them as one key."""
    for name, below in node.fields.items():
        yield name
        for path in _paths(below):
            yield f"{name}.{path}"
    for group in node.groups:
        for arm in group:
            yield from _paths(arm)
