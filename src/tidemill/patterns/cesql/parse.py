"""CESQL text to a tree of nodes, by recursive descent. Pure.

Nesting is bounded by `MAX_DEPTH` of a rule, so nothing that walks a tree runs out of stack.
"""

from __future__ import annotations

import re
from dataclasses import replace

from tidemill.patterns.cesql.syntax import (
    Call,
    Chain,
    Exists,
    In,
    Like,
    Literal,
    Logic,
    Name,
    Node,
    Span,
    Unary,
    parts_of,
)
from tidemill.patterns.cesql.tokens import ParseError, Token, Type, take_apart
from tidemill.patterns.cesql.values import LARGEST, SMALLEST

__all__ = ["Parser", "parse"]

_LOGIC = ("AND", "OR", "XOR")
#: Operators of numbers and comparisons, those that bind least first.
_LEVELS = (("=", "!=", "<>", ">=", "<=", ">", "<"), ("+", "-"), ("*", "/", "%"))
_ATTRIBUTE = re.compile(r"[a-z0-9]+\Z")
_FUNCTION = re.compile(r"[A-Za-z][A-Za-z_]*\Z")


def parse(text: str, *, max_depth: int) -> tuple[Node, int]:
    """The tree of `text`, and how many operands it has; raises `ParseError`."""
    parser = Parser(take_apart(text), max_depth)
    node = parser.expression()
    parser.expect_end()
    _check_height(node, max_depth)
    return node, parser.leaves


def _check_height(node: Node, max_depth: int) -> None:
    """Refuse a tree that is too deep: each change between AND, OR and XOR nests what stands before it."""
    level: list[Node] = [node]
    for _ in range(max_depth):
        level = [part for one in level for part in parts_of(one)]
        if not level:
            return
    raise ParseError(f"nested more than {max_depth} deep", level[0].span.start)


class Parser:
    """Reads tokens from left to right."""

    def __init__(self, tokens: list[Token], max_depth: int) -> None:
        self._tokens = tokens
        self._at = 0
        self._depth = 0
        self._max_depth = max_depth
        self.leaves = 0

    def expression(self) -> Node:
        """The least binding level: AND, OR, XOR, from left to right."""
        self._enter()
        node = self._binary(0)
        while self._peek().type is Type.KEYWORD and self._peek().text in _LOGIC:
            operator = self._next().text
            operands = [node, self._binary(0)]
            while self._peek().type is Type.KEYWORD and self._peek().text == operator:
                self._next()
                operands.append(self._binary(0))
            node = Logic(_around(operands[0], operands[-1]), operator, tuple(operands))
        self._depth -= 1
        return node

    def expect_end(self) -> None:
        """Refuse whatever stands behind the expression."""
        token = self._peek()
        if token.type is not Type.END:
            raise ParseError(f"{_shown(token)} was not expected; the expression was complete", token.start)

    def _binary(self, level: int) -> Node:
        if level == len(_LEVELS):
            return self._postfix()
        first = self._binary(level + 1)
        rest: list[tuple[str, Node]] = []
        while self._is_sign(*_LEVELS[level]):
            rest.append((self._next().text, self._binary(level + 1)))
        return Chain(_around(first, rest[-1][1]), first, tuple(rest)) if rest else first

    def _postfix(self) -> Node:
        node = self._unary()
        while True:
            negated = self._is_keyword("NOT") and self._tokens[self._at + 1].text in ("LIKE", "IN")
            if not (negated or self._is_keyword("LIKE", "IN")):
                return node
            self._at += negated
            node = self._like(node, negated) if self._next().text == "LIKE" else self._in(node, negated)

    def _like(self, operand: Node, negated: bool) -> Node:
        token = self._next()
        if token.type is not Type.STRING:
            raise ParseError(f"LIKE takes a string, not {_shown(token)}", token.start)
        return Like(Span(operand.span.start, token.end), operand, token.text, negated)

    def _in(self, operand: Node, negated: bool) -> Node:
        elements, end = self._list("IN takes a list in parentheses")
        if not elements:
            raise ParseError("IN takes at least one value", end - 1)
        return In(Span(operand.span.start, end), operand, elements, negated)

    def _unary(self) -> Node:
        token = self._peek()
        if token.type is Type.KEYWORD and token.text == "NOT":
            return self._prefixed(self._next())
        if self._is_sign("-", "+"):
            following = self._tokens[self._at + 1]
            if following.type is Type.DIGITS and following.start == token.end:
                return self._integer(self._next().text, token.start)
            if token.text == "-":
                return self._prefixed(self._next())
        return self._primary()

    def _prefixed(self, operator: Token) -> Node:
        self._enter()
        operand = self._unary()
        self._depth -= 1
        return Unary(Span(operator.start, operand.span.end), operator.text, operand)

    def _primary(self) -> Node:
        token = self._next()
        self.leaves += 1
        match token:
            case Token(type=Type.STRING, text=text):
                return Literal(Span(token.start, token.end), text)
            case Token(type=Type.DIGITS):
                self._at -= 1
                return self._integer("", token.start)
            case Token(type=Type.KEYWORD, text="TRUE" | "FALSE" as text):
                return Literal(Span(token.start, token.end), text == "TRUE")
            case Token(type=Type.KEYWORD, text="EXISTS"):
                named = self._next()
                return Exists(Span(token.start, named.end), _attribute(named))
            case Token(type=Type.SIGN, text="("):
                node = self.expression()
                return replace(node, span=Span(token.start, self._expect(")").end))
            case Token(type=Type.WORD) if self._is_sign("("):
                return self._call(token)
            case Token(type=Type.WORD):
                return Name(Span(token.start, token.end), _attribute(token))
            case _:
                raise ParseError(f"a value was expected, not {_shown(token)}", token.start)

    def _integer(self, sign: str, start: int) -> Node:
        digits = self._next()
        number = int(sign + digits.text) if len(digits.text) <= 40 else LARGEST + 1
        if not SMALLEST <= number <= LARGEST:
            raise ParseError("an integer must fit into 32 bits", start)
        return Literal(Span(start, digits.end), number)

    def _call(self, name: Token) -> Node:
        if not _FUNCTION.match(name.text):
            raise ParseError(f"{_shown(name)} is no name of a function", name.start)
        arguments, end = self._list("a function takes its arguments in parentheses")
        return Call(Span(name.start, end), name.text.upper(), arguments)

    def _list(self, message: str) -> tuple[tuple[Node, ...], int]:
        """Expressions in parentheses with commas between, and where they end."""
        if not self._is_sign("("):
            raise ParseError(message, self._peek().start)
        self._next()
        found: list[Node] = []
        if not self._is_sign(")"):
            found.append(self.expression())
            while self._is_sign(","):
                self._next()
                found.append(self.expression())
        return tuple(found), self._expect(")").end

    def _expect(self, sign: str) -> Token:
        token = self._next()
        if token.type is not Type.SIGN or token.text != sign:
            raise ParseError(f"{sign!r} was expected, not {_shown(token)}", token.start)
        return token

    def _enter(self) -> None:
        self._depth += 1
        if self._depth > self._max_depth:
            raise ParseError(f"nested more than {self._max_depth} deep", self._peek().start)

    def _is_sign(self, *signs: str) -> bool:
        token = self._peek()
        return token.type is Type.SIGN and token.text in signs

    def _is_keyword(self, *words: str) -> bool:
        token = self._peek()
        return token.type is Type.KEYWORD and token.text in words

    def _peek(self) -> Token:
        return self._tokens[self._at]

    def _next(self) -> Token:
        token = self._tokens[self._at]
        self._at += token.type is not Type.END
        return token


def _attribute(token: Token) -> str:
    if token.type not in (Type.WORD, Type.DIGITS) or not _ATTRIBUTE.match(token.text):
        raise ParseError(
            f"{_shown(token)} is no name of an attribute: lower-case letters and digits", token.start
        )
    return token.text


def _around(first: Node, last: Node) -> Span:
    return Span(first.span.start, last.span.end)


def _shown(token: Token) -> str:
    return "the end" if token.type is Type.END else repr(token.text[:40])
