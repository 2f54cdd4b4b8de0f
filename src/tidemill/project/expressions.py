"""Expressions in templates: `{cel: "event.data.net * 1.19"}` gives what the CEL expression evaluates to.

The language, its functions and its bounds are those of CEL rules (`patterns.cel`). Its variables are the members
of `$` by their names, and `event` for the whole of an event.
"""

from __future__ import annotations

from collections.abc import Collection

from tidemill.errors import EventRejected
from tidemill.events import json_value
from tidemill.events.event import JSON
from tidemill.patterns.cel import ValueFailed, compile_value
from tidemill.patterns.rule import PatternError
from tidemill.project.evaluation import Evaluate, MappingFailed
from tidemill.project.lookups import ANSWER_PARTS, ENRICHED, REQUEST_PARTS, Lookup

__all__ = ["ExpressionFailed", "ExpressionProblem", "compile_expression"]

#: What the whole of an event is called.
_WHOLE = "event"


class ExpressionProblem(ValueError):  # noqa: N818 - named as `Problem` is
    """Text that should be an expression and is not; the message says what is wrong."""


class ExpressionFailed(MappingFailed):
    """The expression has no value for this event or request (code `mapping_failed`)."""

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(text)
        self.reason = reason
        self.args = (f"the expression {text} gives no value: {reason}",)


def compile_expression(
    text: str, *, root: str, enriched: Collection[str], fallback: Evaluate | None
) -> Evaluate:
    """The evaluation of `text`; `fallback` gives the value where it has none. Raises `ExpressionProblem`."""
    try:
        value_of, variables = compile_value(text)
    except PatternError as error:
        raise ExpressionProblem("; ".join(message for _, message in error.problems)) from None
    if problem := _unknown(variables, root, enriched):
        raise ExpressionProblem(problem)

    def evaluate(lookup: Lookup) -> JSON:
        try:
            return json_value.normalize(value_of(_given(lookup, variables, root)))
        except ValueFailed as error:
            reason = str(error)
        except EventRejected as error:
            reason = f"it is no JSON value ({error.detail})"
        if fallback is None:
            raise ExpressionFailed(text, reason)
        return fallback(lookup)

    return evaluate


def _given(lookup: Lookup, variables: Collection[str], root: str) -> dict[str, JSON]:
    """Those of the variables that `$` has."""
    found: dict[str, JSON] = {}
    for name in variables:
        if name == _WHOLE and root == "event":
            found[name] = lookup.whole()
            continue
        try:
            found[name] = lookup[name]
        except KeyError:
            continue
    return found


def _unknown(variables: Collection[str], root: str, enriched: Collection[str]) -> str | None:
    """Why a variable can never be there; attributes of events may have any name."""
    known = {"request": REQUEST_PARTS, "answer": ANSWER_PARTS}.get(root)
    for name in variables:
        if known is not None and name not in known:
            return f"there is no {name!r} here, only {', '.join(known)}"
        if known is None and name == ENRICHED and not enriched:
            return "there is no enrichment beside it"
    return None
