"""The rule of a trigger or subscription: what it says of events in each dialect, compiled and joined."""

from __future__ import annotations

from collections.abc import Callable

from tidemill.events.event import JSON
from tidemill.patterns.cel import compile_cel
from tidemill.patterns.cesql import compile_sql
from tidemill.patterns.filters import compile_filters
from tidemill.patterns.pattern import compile_pattern
from tidemill.patterns.rule import PatternError, Rule, combine
from tidemill.project.entry import Entry

__all__ = ["RULE_FIELDS", "compile_rule"]

#: Each field that says which events match: what it is in a file (another type is a problem of structure), its compiler.
RULE_FIELDS: dict[str, tuple[type, Callable[[JSON], Rule]]] = {
    "filters": (list, compile_filters),
    "pattern": (dict, compile_pattern),
    "cesql": (str, compile_sql),
    "cel": (str, compile_cel),
}


def compile_rule(entry: Entry) -> Rule | None:
    """The entry's rule; None when there is none that can be used, with every problem noted."""
    written = {name: value for name in RULE_FIELDS if (value := entry.get(name)) is not None}
    if isinstance(entry.written, dict) and not written:
        *first, last = RULE_FIELDS
        entry.problem("", f"{', '.join(first)} or {last} is missing (filters: [] matches every event)")
    rules = [rule for name, value in written.items() if (rule := _compile(entry, name, value)) is not None]
    return combine(*rules) if rules and len(rules) == len(written) else None


def _compile(entry: Entry, name: str, written: JSON) -> Rule | None:
    kind, compiler = RULE_FIELDS[name]
    if not isinstance(written, kind):
        return None
    try:
        return compiler(written)
    except PatternError as error:
        for pointer, message in error.problems:
            entry.problem(f"/{name}{pointer}", message)
        return None
