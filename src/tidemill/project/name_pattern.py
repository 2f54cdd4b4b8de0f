"""Patterns of file names with holes: `{batch}-{part}.csv` takes a name apart. Pure.

A hole stands for one or more characters other than a slash. Matching is linear in the name: a hole takes as little as
it can before the text that follows it, the last one takes the rest.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

__all__ = ["NamePattern", "NamePatternError"]

_HOLE = re.compile(r"\{([^{}]*)\}")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}\Z")
#: Holes that do not make the key: which part it is, and how many there are.
_OTHERS = frozenset({"part", "count"})


class NamePatternError(ValueError):
    """The pattern cannot be used; the message says why."""


class NamePattern:
    """One pattern; raises `NamePatternError` when it is none."""

    def __init__(self, written: str) -> None:
        pieces = _HOLE.split(written)
        #: Text, hole, text, hole, ..., text.
        self._texts = pieces[0::2]
        self._holes = pieces[1::2]
        for name in self._holes:
            if not _NAME.match(name):
                raise NamePatternError(f"{{{name}}}: a name in braces is lower-case letters, digits and _")
        if len(set(self._holes)) != len(self._holes):
            raise NamePatternError("a name stands in braces twice")
        if not self._holes:
            raise NamePatternError("there is no name in braces, so nothing tells one set from another")
        if "" in self._texts[1:-1]:
            raise NamePatternError("two names in braces need text between them")
        if any(brace in text for text in self._texts for brace in "{}"):
            raise NamePatternError("a brace stands alone")

    @property
    def key_names(self) -> tuple[str, ...]:
        """Names of the holes that make the key."""
        return tuple(name for name in self._holes if name not in _OTHERS)

    @property
    def has_count(self) -> bool:
        """Whether names say how many files there are."""
        return "count" in self._holes

    def match(self, name: str) -> Mapping[str, str] | None:
        """What stands in the holes of `name`; None when it does not fit (a count that is no number fits nothing)."""
        first, *between, last = self._texts
        end = len(name) - len(last)
        if not name.startswith(first) or not name.endswith(last) or end < len(first):
            return None
        at, found = len(first), []
        for text in between:
            here = name.find(text, at + 1, end)
            if here < 0:
                return None
            found.append(name[at:here])
            at = here + len(text)
        found.append(name[at:end])
        holes = dict(zip(self._holes, found, strict=True))
        if any(not value or "/" in value for value in found):
            return None
        if "count" in holes and not (holes["count"].isascii() and holes["count"].isdigit()):
            return None
        return holes
