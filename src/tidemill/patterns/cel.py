"""CEL, the Common Expression Language, as a dialect of rules; evaluated by a native library. Pure.

1. The variables are `event`, the event as the JSON object that it is in the JSON format, and each of its members by
   its own name.
2. An event matches when the expression is true; an error of evaluation is no match, and `explain` shows it.
3. CEL has no loops but its macros over lists and maps. How often they can go round is bounded before anything is
   evaluated: (values in the event) to the power of how deep macros are nested, at most `MAX_ROUNDS`.
4. How much an evaluation can join, copy and compare is estimated from the text and from the longest text and the
   longest list of the event, and bounded before anything is evaluated (`cel_cost`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from tidemill.events.event import JSON, Event
from tidemill.patterns.cel_cost import Cost, cost_of
from tidemill.patterns.condition import quote
from tidemill.patterns.explanation import Explanation
from tidemill.patterns.expression import Computed
from tidemill.patterns.members import read_member
from tidemill.patterns.rule import Problems, Rule, make_rule

__all__ = ["FUNCTIONS", "MACROS", "MAX_ROUNDS", "ValueFailed", "compile_cel", "compile_value"]

#: Most rounds that the macros of one evaluation may go.
MAX_ROUNDS = 10_000
MACROS = ("all", "exists", "exists_one", "map", "filter")
#: What can be called besides.
FUNCTIONS = frozenset(
    {
        "has",
        "size",
        "contains",
        "startsWith",
        "endsWith",
        "matches",
        "int",
        "uint",
        "double",
        "string",
        "bytes",
        "timestamp",
        "duration",
        "type",
        "dyn",
        "getFullYear",
        "getMonth",
        "getDate",
        "getDayOfMonth",
        "getDayOfWeek",
        "getDayOfYear",
        "getHours",
        "getMinutes",
        "getSeconds",
        "getMilliseconds",
        "of",
        "none",
        "ofNonZeroValue",
        "hasValue",
        "value",
        "orValue",
    }
)

_MEMBERS = ("id", "source", "type", "subject", "time", "datacontenttype", "dataschema", "specversion", "data")
_PLACE = re.compile(r"<input>:(\d+):(\d+): (?:Syntax error: )?([^\n]*)")


class _Program(NamedTuple):
    """One compiled expression."""

    text: str
    #: Evaluates it with variables; raises whatever the library raises.
    execute: Callable[[dict[str, JSON]], Any]
    variables: tuple[str, ...]
    #: How deep macros stand in each other, and how many values the text lists itself.
    nesting: int
    listed: int
    cost: Cost = Cost()


class ValueFailed(Exception):  # noqa: N818 - named after what happened
    """An evaluation came to nothing; the text says why."""


def compile_cel(text: JSON) -> Rule:
    """The rule that a CEL expression states. Raises `PatternError` with every problem."""
    problems = Problems()
    program = _compile(text, problems)
    problems.raise_any()
    assert program is not None  # noqa: S101 - nothing was noted, so it was compiled
    return make_rule(
        "cel",
        text,
        Computed(
            check=lambda event: _holds(program, _variables(program, event)),
            explain=lambda event: _explain(program, event),
            json_check=lambda value: _holds(program, {**value, "event": value}),
        ),
    )


def compile_value(text: JSON) -> tuple[Callable[[dict[str, JSON]], Any], tuple[str, ...]]:
    """The function that gives an expression's value for variables, and the names of the variables it speaks of.

    The function raises `ValueFailed`; compiling raises `PatternError` with every problem.
    """
    problems = Problems()
    program = _compile(text, problems)
    problems.raise_any()
    assert program is not None  # noqa: S101 - nothing was noted, so it was compiled
    return lambda variables: _evaluate(program, variables), program.variables


def _compile(text: JSON, problems: Problems) -> _Program | None:
    if not isinstance(text, str) or not text.strip():
        problems.add("", f"a CEL expression is a non-empty string, not {quote(text)}")
        return None
    if not problems.has_length(text, ""):
        return None
    import cel  # slow to import, and not every project has such rules

    try:
        compiled = cel.compile(text)
        called, variables = compiled.functions(), compiled.variables()
    except Exception as error:
        problems.add("", _parse_problem(str(error)))
        return None
    unknown = sorted(name for name in called if name.isidentifier() and name not in FUNCTIONS)
    for name in unknown:
        problems.add("", f"there is no function {name}")
    cost = cost_of(text, MACROS, variables)
    if unknown or problems.is_too_deep(cost.depth, ""):
        return None
    return _Program(text, compiled.execute, tuple(sorted(variables)), cost.nesting, cost.commas, cost)


def _parse_problem(message: str) -> str:
    found = _PLACE.search(message)
    if found is None:
        return f"is no CEL expression: {message.splitlines()[0][:200]}"
    line, column, what = found.groups()
    return f"line {line}, column {column}: {what[:200]}"


def _variables(program: _Program, event: Event) -> dict[str, JSON]:
    """Those of the variables that the expression speaks of and the event has."""
    found = {name: value for name in program.variables if (value := read_member(event, name)) is not None}
    if "event" in program.variables:
        names = (*_MEMBERS, "data_base64", *event.extensions)
        found["event"] = {name: value for name in names if (value := read_member(event, name)) is not None}
    return found


def _holds(program: _Program, variables: Mapping[str, JSON]) -> bool:
    try:
        return _evaluate(program, dict(variables)) is True
    except ValueFailed:
        return False


def _evaluate(program: _Program, variables: dict[str, JSON]) -> Any:
    if program.nesting:
        most = int(MAX_ROUNDS ** (1 / program.nesting) + 1e-9)
        if program.listed > most or _has_more_values(variables, most):
            raise ValueFailed(f"its macros could go round more than {MAX_ROUNDS} times")
    if program.cost.exceeds(variables):
        raise ValueFailed("it could join, copy or compare too much for an event as large as this one")
    try:
        return program.execute(variables)
    except Exception as error:
        raise ValueFailed((str(error) or type(error).__name__).splitlines()[0][:200]) from None
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # what a fault of the native library arrives as
            raise
        raise ValueFailed("the library failed") from None


def _has_more_values(variables: Mapping[str, JSON], most: int) -> bool:
    pending: list[JSON] = list(variables.values())
    left = most
    while pending:
        one = pending.pop()
        below = one.values() if type(one) is dict else one if type(one) is list else ()
        left -= len(below)
        if left < 0:
            return True
        pending.extend(below)
    return False


def _explain(program: _Program, event: Event) -> Explanation:
    variables = _variables(program, event)
    try:
        value, note = _evaluate(program, dict(variables)), ""
    except ValueFailed as failed:
        value, note = None, f"error: {failed}"
    if not note and not isinstance(value, bool):
        note = f"is {value!r}, not true or false"[:200]
    known = [name for name in program.variables if name in variables]
    return Explanation(
        "expression",
        value is True,
        path=", ".join(known),
        condition=program.text,
        found=tuple(variables[name] for name in known),
        note=note,
    )
