"""Why a rule matches an event or not, as a tree that can be shown as text and as JSON. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, assert_never

from tidemill.events.event import JSON
from tidemill.patterns.condition import quote

__all__ = ["Explanation", "What"]

#: A condition on values; all, any or none of the parts; an expression of a language (with parts, where it joins them).
What = Literal["condition", "all", "any", "not", "expression"]

_TITLES = {"all": "all of", "any": "any of", "not": "not"}


@dataclass(frozen=True, slots=True)
class Explanation:
    """One thing a rule says, what an event has for it, and whether it holds; iterating gives its conditions."""

    what: What
    holds: bool
    #: Attribute name or dotted path; of an expression the attributes it reads.
    path: str = ""
    #: What is wanted, as text; alternatives are joined by "or". Of an expression its text.
    condition: str = ""
    #: The values at `path`; empty when there is none.
    found: tuple[JSON, ...] = ()
    #: What else decided: an error of evaluation, conditions that hold on different elements of an array.
    note: str = ""
    parts: tuple[Explanation, ...] = ()

    def __iter__(self) -> Iterator[Explanation]:
        """The conditions, in the order in which they were written; those below a `not` turned round."""
        match self.what:
            case "condition":
                yield self
            case "not":
                for one in (condition for part in self.parts for condition in part):
                    yield replace(one, condition=f"not {one.condition}", holds=not one.holds)
            case "expression" if not self.parts:
                yield self
            case "all" | "any" | "expression":
                for part in self.parts:
                    yield from part
            case _:
                assert_never(self.what)

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def lines(self, indent: str = "") -> Iterator[str]:
        """The tree as text, a line for each node, parts indented below what they belong to."""
        yield f"{indent}{'yes' if self.holds else 'no'}: {self._words()}{f' ({self.note})' if self.note else ''}"
        for part in self.parts:
            yield from part.lines(indent + "  ")

    def to_json(self) -> dict[str, JSON]:
        """The tree as a JSON object; members that say nothing are left out."""
        told: dict[str, JSON] = {"what": self.what, "holds": self.holds}
        if self.what in ("condition", "expression"):
            told |= {"path": self.path, "wanted": self.condition, "found": list(self.found)}
        if self.note:
            told["note"] = self.note
        if self.parts:
            told["parts"] = [part.to_json() for part in self.parts]
        return told

    def _words(self) -> str:
        if self.what in _TITLES:
            return _TITLES[self.what] if self.parts else "every event"
        if self.parts or (self.what == "expression" and not self.path):
            return self.condition
        found = " and ".join(quote(value) for value in self.found) or "not there"
        return f"{self.path} is {found}, wanted {self.condition}"
