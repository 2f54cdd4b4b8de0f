"""What a plain scalar of a definition file means: YAML 1.2's core schema, as far as JSON can hold it."""

from __future__ import annotations

import re

from tidemill.events.event import JSON

__all__ = ["clip", "resolve"]

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?[0-9]+\Z|0o[0-7]+\Z|0x[0-9a-fA-F]+\Z")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)\Z|\.(?:nan|NaN|NAN)\Z")
_INT_DIGITS = 20
_INT_MIN, _INT_MAX = -(1 << 63), (1 << 64) - 1


def resolve(text: str) -> JSON:
    """A plain scalar's value by the core schema (YAML 1.2.2, section 10.3.2)."""
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if _INT.match(text):
        return _integer(text)
    if _FLOAT.match(text):
        value = float(text)
        if value in (float("inf"), float("-inf")):
            raise ValueError(f"{clip(text)} is too large for a number")
        return value
    if _NOT_FINITE.match(text):
        raise ValueError(f"{text} is not a number that JSON has")
    return text


def _integer(text: str) -> int:
    significant = text.lstrip("+-0")
    if len(significant) > _INT_DIGITS + 2:
        raise ValueError(f"{clip(text)} is beyond 64 bits; put it in quotes")
    base = {"0o": 8, "0x": 16}.get(text[:2], 10)
    value = int(text, base) if base != 10 else int(significant or "0") * (-1 if text[0] == "-" else 1)
    if not _INT_MIN <= value <= _INT_MAX:
        raise ValueError(f"{clip(text)} is beyond 64 bits; put it in quotes")
    return value


def clip(text: str) -> str:
    """`text`, short enough to be read in a message."""
    return text if len(text) <= 60 else text[:57] + "..."
