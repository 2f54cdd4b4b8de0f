"""CESQL text taken apart into tokens, each with its place. Pure; one pass, linear."""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import NamedTuple

__all__ = ["KEYWORDS", "ParseError", "Token", "Type", "take_apart"]

#: Words with a meaning of their own, whatever their case.
KEYWORDS = frozenset({"AND", "OR", "XOR", "NOT", "LIKE", "IN", "EXISTS", "TRUE", "FALSE"})


class Type(Enum):
    """What a token is."""

    KEYWORD = auto()
    WORD = auto()
    DIGITS = auto()
    STRING = auto()
    SIGN = auto()
    END = auto()


class Token(NamedTuple):
    """One token; `text` of a keyword is in upper case, of a string without its quotes."""

    type: Type
    text: str
    start: int
    end: int


class ParseError(Exception):
    """The text is no CESQL expression; `at` is the offset of what is wrong."""

    def __init__(self, message: str, at: int) -> None:
        self.at = at
        super().__init__(message)


_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n]+)
    |(?P<word>[A-Za-z0-9_]+)
    |'(?P<single>(?:[^'\\]|\\.)*)'
    |"(?P<double>(?:[^"\\]|\\.)*)"
    |(?P<sign><>|!=|<=|>=|[-+*/%=<>(),])""",
    re.VERBOSE | re.DOTALL,
)


def take_apart(text: str) -> list[Token]:
    """The tokens of `text`, an end last; raises `ParseError`."""
    tokens: list[Token] = []
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            if text[at] in "'\"":
                raise ParseError("this string does not end", at)
            raise ParseError(f"{text[at]!r} has no meaning here", at)
        at = found.end()
        if found.lastgroup != "space":
            tokens.append(_token(found))
    return [*tokens, Token(Type.END, "", len(text), len(text))]


def _token(found: re.Match[str]) -> Token:
    start, end = found.span()
    match found.lastgroup:
        case "single":
            return Token(Type.STRING, found["single"].replace("\\'", "'"), start, end)
        case "double":
            return Token(Type.STRING, found["double"].replace('\\"', '"'), start, end)
        case "sign":
            return Token(Type.SIGN, found[0], start, end)
        case _:
            word = found[0]
            if word.upper() in KEYWORDS:
                return Token(Type.KEYWORD, word.upper(), start, end)
            return Token(Type.DIGITS if word.isdecimal() else Type.WORD, word, start, end)
