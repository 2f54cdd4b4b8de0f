"""The filter dialects of the CloudEvents Subscriptions API: exact, prefix, suffix, all, any, not, sql. Pure.

A filter that states nothing ({}, an empty all, any, exact, …) is no filter: it drops out of what holds it,
and a rule of nothing else lets every event through. That is decided here, once: checks know only yes and no.
"""

from __future__ import annotations

from collections.abc import Callable

from tidemill.events.event import JSON
from tidemill.patterns.cesql import compile_expression
from tidemill.patterns.condition import Alternative, Equals, Prefix, Suffix, quote
from tidemill.patterns.expression import Attribute, Every, Expression, Not, Some
from tidemill.patterns.rule import Problems, Rule, child, make_rule

__all__ = ["DIALECTS", "compile_filters"]

#: Every filter dialect by its name.
DIALECTS = ("exact", "prefix", "suffix", "all", "any", "not", "sql")


def compile_filters(filters: JSON) -> Rule:
    """The rule that a list of filters states: all must hold, an empty list lets every event through.

    A single filter object stands for the list of it. Raises `PatternError` with every problem.
    """
    problems = Problems()
    if isinstance(filters, dict):
        expression = _compile(filters, "", depth=1, problems=problems)
    elif isinstance(filters, list):
        parts = _compile_list(filters, "", depth=0, problems=problems)
        expression = Every(parts) if parts else None
    else:
        expression = None
        problems.add("", f"filters must be a list of filter objects, not {quote(filters)}")
    problems.raise_any()
    return make_rule("filters", filters, expression or Every(()))


def _compile(written: JSON, pointer: str, *, depth: int, problems: Problems) -> Expression | None:
    """What one filter object states; None when it states nothing or is wrong."""
    if problems.is_too_deep(depth, pointer):
        return None
    if not isinstance(written, dict):
        problems.add(pointer, f"a filter must be an object, not {quote(written)}")
        return None
    if len(written) > 1:
        problems.add(
            pointer, f"a filter must have one dialect, this one has {len(written)}: put them into all"
        )
        return None
    for dialect, argument in written.items():
        return _compile_dialect(dialect, argument, pointer, depth=depth, problems=problems)
    return None


def _compile_dialect(
    dialect: JSON, argument: JSON, pointer: str, *, depth: int, problems: Problems
) -> Expression | None:
    if not isinstance(dialect, str):
        problems.add(pointer, f"a dialect is a string, not {quote(dialect)}")
        return None
    below = child(pointer, dialect)
    match dialect:
        case "exact" | "prefix" | "suffix":
            return _compile_attributes(dialect, argument, below, problems=problems)
        case "all" | "any":
            parts = _compile_list(argument, below, depth=depth, problems=problems)
            if not parts:
                return None
            return Every(parts) if dialect == "all" else Some(parts)
        case "not":
            part = _compile(argument, below, depth=depth + 1, problems=problems)
            return Not(part) if part is not None else None
        case "sql":
            return compile_expression(argument, below, problems=problems)
        case _:
            problems.add(below, f"dialect {dialect!r} is not supported; there are {', '.join(DIALECTS)}")
            return None


def _compile_list(written: JSON, pointer: str, *, depth: int, problems: Problems) -> tuple[Expression, ...]:
    if not isinstance(written, list):
        problems.add(pointer, f"must be a list of filter objects, not {quote(written)}")
        return ()
    parts = [
        _compile(one, child(pointer, place), depth=depth + 1, problems=problems)
        for place, one in enumerate(written)
    ]
    return tuple(part for part in parts if part is not None)


def _compile_attributes(
    dialect: str, written: JSON, pointer: str, *, problems: Problems
) -> Expression | None:
    if not isinstance(written, dict):
        problems.add(pointer, f"{dialect} takes an object of attribute names and texts, not {quote(written)}")
        return None
    problems.count(len(written))
    parts: list[Expression] = []
    for name, text in written.items():
        if not isinstance(name, str) or not name:
            problems.add(pointer, f"an attribute name must be a non-empty string, not {quote(name)}")
        elif not isinstance(text, str) or not text:
            problems.add(child(pointer, name), f"{dialect} takes a non-empty string, not {quote(text)}")
        else:
            parts.append(Attribute(name, _CONDITIONS[dialect](text)))
    if len(parts) == 1:
        return parts[0]
    return Every(tuple(parts)) if parts else None


_CONDITIONS: dict[str, Callable[[str], Alternative]] = {"exact": Equals, "prefix": Prefix, "suffix": Suffix}
