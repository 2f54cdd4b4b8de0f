"""Triggers as a version of the project had them, from what is kept of it: enough to say again what they matched."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import orjson

from tidemill.errors import Problem
from tidemill.events.event import Event
from tidemill.patterns.index import Index
from tidemill.patterns.rule import Rule
from tidemill.project.addressing import ADDRESSED, told_to
from tidemill.project.entry import Entry
from tidemill.project.rules import compile_rule
from tidemill.project.yaml_text import read_yaml

__all__ = ["RecordedTrigger", "RecordedTriggers"]


@dataclass(frozen=True, slots=True)
class RecordedTrigger:
    """One trigger as it was written."""

    name: str
    written: dict[str, Any]
    #: None when this Tidemill no longer understands what was written.
    rule: Rule | None


class RecordedTriggers:
    """The triggers of one version of the project."""

    def __init__(self, written: Iterable[tuple[str, Any]]) -> None:
        self.triggers = {
            entry["name"]: RecordedTrigger(entry["name"], entry, _rule(entry))
            for kind, entry in written
            if kind == "triggers"
        }
        rules = {name: one.rule for name, one in self.triggers.items() if one.rule is not None}
        self._index = Index(rules)

    @property
    def unknown(self) -> list[str]:
        """Triggers of which nothing can be said any more."""
        return [name for name, one in self.triggers.items() if one.rule is None]

    def asked(self, event: Event) -> list[str]:
        """Names of the triggers of which `event` had to become something."""
        told = told_to(event)
        names = self._index.match(event)
        addressed = ADDRESSED.get(event.type)
        if addressed is not None:
            names = [addressed, *names]
        return [name for name in names if not told or name in told]


def _rule(entry: dict[str, Any]) -> Rule | None:
    problems: list[Problem] = []
    rule = compile_rule(Entry("definitions", read_yaml(orjson.dumps(entry)), "", entry, problems))
    return None if problems else rule
