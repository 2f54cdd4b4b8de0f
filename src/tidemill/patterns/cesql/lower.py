"""CESQL as conditions on attributes, as far as they say the very same. Pure.

A filter passes when the expression is true and no error arose. `Lowered.true` says that; `Lowered.fine` says that no
error arises, whatever the value: an attribute that is not there is an error in CESQL, so both ask for it. What is no
condition on the text form of one attribute stays an expression, joined to the conditions around it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tidemill.patterns import texts
from tidemill.patterns.cesql.operators import like_pieces, like_tokens
from tidemill.patterns.cesql.syntax import Chain, Exists, In, Like, Literal, Logic, Name, Node, Unary
from tidemill.patterns.condition import PRESENT, Alternative, Equals, Prefix, Suffix, Wildcard, quote
from tidemill.patterns.expression import Attribute, Every, Expression, Not, Some
from tidemill.patterns.members import CONTEXT_ATTRIBUTES

__all__ = ["lower"]


class Lowered(NamedTuple):
    """A node as conditions."""

    true: Expression
    fine: Expression


def lower(node: Node, compute: Callable[[Node], Expression]) -> Expression | None:
    """The conditions under which a filter with `node` passes; None when nothing of it is a condition.

    `compute` gives the expression that evaluates a part which is none.
    """
    if isinstance(node, Logic) and node.operator == "AND":
        parts = [lower(operand, compute) for operand in node.operands]
        if all(part is None for part in parts):
            return None
        return Every(
            tuple(
                compute(operand) if part is None else part
                for operand, part in zip(node.operands, parts, strict=True)
            )
        )
    lowered = _lower(node)
    return None if lowered is None else lowered.true


def _lower(node: Node) -> Lowered | None:
    match node:
        case Exists(name=name):
            return Lowered(Attribute(name, PRESENT), Every(()))
        case Unary(operator="NOT", operand=operand):
            lowered = _lower(operand)
            return None if lowered is None else Lowered(_refuted(lowered), lowered.fine)
        case Chain(first=Name(name=name), rest=((("=" | "!=" | "<>") as sign, Literal(value=str(text))),)):
            return _tested(name, Equals(text), negated=sign != "=")
        case Like(operand=Name(name=name), pattern=pattern, negated=negated):
            wanted = _like(pattern)
            return None if wanted is None else _tested(name, wanted, negated=negated)
        case In(operand=Name(name=name), elements=elements, negated=negated):
            return _in(name, elements, negated=negated)
        case Logic(operator="AND" | "OR" as operator, operands=operands):
            return _joined(operator, [_lower(operand) for operand in operands])
        case _:
            return None


def _tested(name: str, wanted: Alternative, *, negated: bool) -> Lowered:
    there, holds = Attribute(name, PRESENT), Attribute(name, wanted)
    return Lowered(Every((there, Not(holds))) if negated else holds, there)


def _refuted(lowered: Lowered) -> Expression:
    return Every((lowered.fine, Not(lowered.true)))


def _like(pattern: str) -> Alternative | None:
    tokens = like_tokens(pattern)
    if texts.ONE in tokens:
        return None
    match like_pieces(tokens):
        case [text]:
            return Equals(text)
        case [prefix, ""]:
            return Prefix(prefix)
        case ["", suffix]:
            return Suffix(suffix)
        case pieces:
            return Wildcard(tuple(pieces), f"like {quote(pattern)}")


def _in(name: str, elements: tuple[Node, ...], *, negated: bool) -> Lowered | None:
    """Elements are cast to the attribute's type, so it must be known: context attributes are strings."""
    if name not in CONTEXT_ATTRIBUTES:
        return None
    texts_of = [one.value for one in elements if isinstance(one, Literal) and isinstance(one.value, str)]
    if len(texts_of) < len(elements):
        return None
    there, holds = Attribute(name, PRESENT), Some(tuple(Attribute(name, Equals(text)) for text in texts_of))
    return Lowered(Every((there, Not(holds))) if negated else holds, there)


def _joined(operator: str, parts: list[Lowered | None]) -> Lowered | None:
    """AND and OR from left to right: a part is looked at only where those before it do not decide."""
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    joined, *others = known
    for part in others:
        if operator == "AND":
            true: Expression = Every((joined.true, part.true))
            fine: Expression = Every((joined.fine, Some((Not(joined.true), part.fine))))
        else:
            true = Some((joined.true, Every((joined.fine, part.true))))
            fine = Every((joined.fine, Some((joined.true, part.fine))))
        joined = Lowered(true, fine)
    return joined
