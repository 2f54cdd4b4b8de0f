"""The form of CESQL expressions (CloudEvents SQL v1, sections 2 and 3.6): text to a tree of nodes. Pure.

1. Operators that bind alike are taken from left to right, as section 3.6 says; AND, OR and XOR bind alike.
2. NOT and - bind closer than anything else: `NOT a = b` is `(NOT a) = b`.
3. A row of operators is one node, so that a long expression is not a deep one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from tidemill.patterns.cesql.values import Value

__all__ = [
    "Call",
    "Chain",
    "Exists",
    "In",
    "Like",
    "Literal",
    "Logic",
    "Name",
    "Node",
    "Span",
    "Unary",
    "parts_of",
]


@dataclass(frozen=True, slots=True)
class Span:
    """Where a node stands in the text."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Literal:
    """A value written out."""

    span: Span
    value: Value


@dataclass(frozen=True, slots=True)
class Name:
    """The value of an attribute."""

    span: Span
    name: str


@dataclass(frozen=True, slots=True)
class Exists:
    """Whether an attribute is there."""

    span: Span
    name: str


@dataclass(frozen=True, slots=True)
class Unary:
    """`NOT` or `-`."""

    span: Span
    operator: str
    operand: Node


@dataclass(frozen=True, slots=True)
class Logic:
    """One of AND, OR, XOR between two or more operands."""

    span: Span
    operator: str
    operands: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Chain:
    """Comparisons or arithmetic, from left to right."""

    span: Span
    first: Node
    rest: tuple[tuple[str, Node], ...]


@dataclass(frozen=True, slots=True)
class Like:
    """`operand LIKE pattern`."""

    span: Span
    operand: Node
    pattern: str
    negated: bool


@dataclass(frozen=True, slots=True)
class In:
    """`operand IN (elements)`."""

    span: Span
    operand: Node
    elements: tuple[Node, ...]
    negated: bool


@dataclass(frozen=True, slots=True)
class Call:
    """A function of arguments."""

    span: Span
    name: str
    arguments: tuple[Node, ...]


Node = Literal | Name | Exists | Unary | Logic | Chain | Like | In | Call


def parts_of(node: Node) -> tuple[Node, ...]:
    """The nodes right below `node`."""
    match node:
        case Literal() | Name() | Exists():
            return ()
        case Unary(operand=operand) | Like(operand=operand):
            return (operand,)
        case Logic(operands=operands):
            return operands
        case Chain(first=first, rest=rest):
            return (first, *(operand for _, operand in rest))
        case In(operand=operand, elements=elements):
            return (operand, *elements)
        case Call(arguments=arguments):
            return arguments
        case _:
            assert_never(node)
