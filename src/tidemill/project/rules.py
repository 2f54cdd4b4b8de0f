"""The rule of a trigger or subscription: its filters and its pattern, compiled and joined."""

from __future__ import annotations

from collections.abc import Callable

from tidemill.events.event import JSON
from tidemill.patterns.filters import compile_filters
from tidemill.patterns.pattern import compile_pattern
from tidemill.patterns.rule import PatternError, Rule, combine
from tidemill.project.entry import Entry

__all__ = ["compile_rule"]


def compile_rule(entry: Entry) -> Rule | None:
    """The entry's rule; None when there is none that can be used, with every problem noted."""
    filters, pattern = entry.get("filters"), entry.get("pattern")
    if isinstance(entry.written, dict) and filters is None and pattern is None:
        entry.problem("", "filters or pattern is missing (filters: [] matches every event)")
    rules = [
        _compile(entry, "/filters", compile_filters, filters) if isinstance(filters, list) else None,
        _compile(entry, "/pattern", compile_pattern, pattern) if isinstance(pattern, dict) else None,
    ]
    written = sum(part is not None for part in (filters, pattern))
    usable = [rule for rule in rules if rule is not None]
    if not usable or len(usable) < written:
        return None
    return usable[0] if len(usable) == 1 else combine(*usable)


def _compile(entry: Entry, at: str, compiler: Callable[[JSON], Rule], written: JSON) -> Rule | None:
    try:
        return compiler(written)
    except PatternError as error:
        for pointer, message in error.problems:
            entry.problem(at + pointer, message)
        return None
