"""One entry of a definition file as it was written, with its place and the problems found in it.

Checks work on what was written and independently of each other, so that one problem never hides another.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tidemill.errors import Problem
from tidemill.events.event import JSON
from tidemill.project.yaml_text import YamlText

__all__ = ["Entry", "pointer_to", "suggestion"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One source, trigger or subscription as written."""

    file: str
    text: YamlText = field(repr=False)
    #: JSON pointer of the entry in its file.
    pointer: str
    #: What was written.
    written: JSON
    problems: list[Problem]

    @property
    def line(self) -> int:
        """Where the entry begins."""
        return self.text.place(self.pointer).line

    @property
    def place(self) -> str:
        """File and line, as messages name them."""
        return f"{self.file}:{self.line}"

    @property
    def name(self) -> str:
        """Its name; empty when it has none that can be used."""
        name = self.get("name")
        return name if isinstance(name, str) else ""

    def problem(self, pointer: str, message: str) -> None:
        """Note what is wrong with the member at `pointer` (from the entry)."""
        place = self.text.place(self.pointer + pointer)
        found = Problem(self.file, place.line, message, place.column)
        if found not in self.problems:
            self.problems.append(found)

    def get(self, *keys: str) -> Any:
        """The member at `keys`, None where there is none."""
        value = self.written
        for key in keys:
            if not isinstance(value, dict):
                return None
            value = value.get(key)
        return value

    def items(self, *keys: str) -> Iterator[tuple[str, JSON]]:
        """The members of the list at `keys`, each with its pointer."""
        value = self.get(*keys)
        if isinstance(value, list):
            for index, item in enumerate(value):
                yield pointer_to(*keys, index), item


def pointer_to(*parts: str | int) -> str:
    """The JSON pointer of `parts` (RFC 6901)."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def suggestion(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` when a known name is close to `name`."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
