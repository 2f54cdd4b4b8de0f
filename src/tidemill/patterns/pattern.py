"""Content patterns: an object shaped like the event, with lists of alternatives at its leaves. Pure.

1. What is not understood is refused; nothing is ever skipped.
2. Paths that are written twice ({"a.b": …, "a": {"b": …}}, or beside and inside `$or`) must hold both.
"""

from __future__ import annotations

from collections.abc import Iterator

from tidemill.events.event import JSON
from tidemill.patterns import conjunction
from tidemill.patterns.condition import quote
from tidemill.patterns.expression import Clause
from tidemill.patterns.fields import Leaf, Node
from tidemill.patterns.operators import OPERATORS, Refusal, parse_alternative
from tidemill.patterns.rule import Problems, Rule, child, make_rule

__all__ = ["compile_pattern"]

_OR = "$or"


def compile_pattern(pattern: JSON) -> Rule:
    """The rule that a content pattern states about the whole event in its JSON form.

    Raises `PatternError` with every problem.
    """
    problems = Problems()
    node = _compile_object(pattern, "", depth=1, problems=problems)
    problems.raise_any()
    return make_rule("pattern", pattern, Clause(node))


def _compile_object(written: JSON, pointer: str, *, depth: int, problems: Problems) -> Node:
    if problems.is_too_deep(depth, pointer):
        return Node()
    if not isinstance(written, dict) or not written:
        problems.add(pointer, f"must be a non-empty object of fields, not {quote(written)}")
        return Node()
    try:
        return conjunction.join(_compile_members(written, pointer, depth=depth, problems=problems))
    except conjunction.TooManyCombinations as refusal:
        problems.add(pointer, str(refusal))
        return Node()


def _compile_members(
    written: dict[JSON, JSON], pointer: str, *, depth: int, problems: Problems
) -> Iterator[Node]:
    for key, value in written.items():
        if not isinstance(key, str):
            problems.add(pointer, f"a field name must be a string, not {quote(key)}")
            continue
        below = child(pointer, key)
        if key == _OR:
            yield _compile_or(value, below, depth=depth, problems=problems)
        else:
            path = key.split(".")
            if _OR in path:
                problems.add(below, "$or is a key of its own, not a part of a path")
            node = _compile_field(value, below, depth=depth + len(path) - 1, problems=problems)
            for name in reversed(path):
                node = Node(fields={name: node})
            yield node


def _compile_field(written: JSON, pointer: str, *, depth: int, problems: Problems) -> Node:
    if isinstance(written, dict):
        return _compile_object(written, pointer, depth=depth + 1, problems=problems)
    if problems.is_too_deep(depth, pointer):
        return Node()
    if not isinstance(written, list) or not written:
        problems.add(pointer, f"must be a non-empty list of alternatives or an object, not {quote(written)}")
        return Node()
    problems.count(sum(_size(one) for one in written))
    alternatives = []
    for place, one in enumerate(written):
        try:
            alternatives.append(parse_alternative(one))
        except Refusal as refusal:
            problems.add(child(pointer, place), str(refusal))
    return Node(leaves=(Leaf(tuple(alternatives)),))


def _compile_or(written: JSON, pointer: str, *, depth: int, problems: Problems) -> Node:
    if not isinstance(written, list) or len(written) < 2:
        problems.add(pointer, "$or takes a list of at least two objects")
        return Node()
    arms = []
    for place, arm in enumerate(written):
        below = child(pointer, place)
        if isinstance(arm, dict) and any(name in OPERATORS for name in arm if isinstance(name, str)):
            problems.add(below, "an arm of $or holds fields; an operator stands in the list of a field")
        arms.append(_compile_object(arm, below, depth=depth + 1, problems=problems))
    return Node(groups=(tuple(arms),))


def _size(written: JSON) -> int:
    """How many values one alternative states: `anything-but` may list several."""
    values = written.get("anything-but") if isinstance(written, dict) else None
    if isinstance(values, dict) and len(values) == 1:
        (values,) = values.values()
    return max(1, len(values)) if isinstance(values, list) else 1
