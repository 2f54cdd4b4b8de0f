"""One line of `tidemill match`: a rule and an event as JSON text in, a verdict out. Pure; it never raises."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from tidemill.errors import EventRejected
from tidemill.events import json_format, json_text
from tidemill.events.event import JSON, Event
from tidemill.patterns.cel import compile_cel
from tidemill.patterns.cesql import compile_sql
from tidemill.patterns.explain import explain
from tidemill.patterns.filters import compile_filters
from tidemill.patterns.pattern import compile_pattern
from tidemill.patterns.rule import PatternError, Rule

__all__ = ["match_line"]

_COMPILERS: dict[str, Callable[[JSON], Rule]] = {
    "filters": compile_filters,
    "pattern": compile_pattern,
    "cesql": partial(compile_sql, strict=False),
    "cel": compile_cel,
}
#: Dialects that speak of attributes, so that the event must be a CloudEvent.
_OF_ATTRIBUTES = ("filters", "cesql")
#: Levels of a line that stand around the event's data.
_ENVELOPE = 2


def match_line(line: str | bytes, *, explained: bool = False) -> dict[str, JSON]:
    """`{"match": bool}` for a line `{"filters" | "pattern" | "cesql" | "cel": …, "event": …}`, else `{"error": why}`.

    Filters and CESQL, and an event that has `specversion`, ask for a CloudEvent; a pattern and CEL take other JSON
    objects as they are. With `explained`, a CloudEvent's answer has the tree of conditions as `explain`.
    """
    try:
        return _match(_parse(line), explained=explained)
    except PatternError as error:
        return {"error": str(error)}
    except EventRejected as error:
        return {"error": f"{error.code}: {error.detail}"}
    except _LineError as error:
        return {"error": str(error)}


class _LineError(Exception):
    """The line is no question; the text says why."""


def _parse(line: str | bytes) -> dict[str, JSON]:
    try:
        text = line.encode() if isinstance(line, str) else bytes(line)
    except UnicodeEncodeError:
        raise _LineError("the line holds half of a surrogate pair") from None
    question = json_text.parse(text, envelope=_ENVELOPE)
    if not isinstance(question, dict):
        raise _LineError("a line is a JSON object")
    return question


def _match(question: dict[str, JSON], *, explained: bool) -> dict[str, JSON]:
    dialects = [name for name in _COMPILERS if name in question]
    unknown = sorted(question.keys() - _COMPILERS.keys() - {"event"})
    known = ", ".join(_COMPILERS)
    if unknown:
        raise _LineError(f"unknown key {unknown[0]!r}; a line has event and one of {known}")
    if len(dialects) != 1:
        raise _LineError(f"a line has exactly one of {known}")
    if "event" not in question:
        raise _LineError("a line has an event")
    (dialect,) = dialects
    event = question["event"]
    rule = _COMPILERS[dialect](question[dialect])
    _check_event(event)
    if dialect not in _OF_ATTRIBUTES and "specversion" not in event:
        return {"match": rule.matches_json(event)}
    return _answer(rule, json_format.from_json(event), explained=explained)


def _check_event(event: JSON) -> None:
    if not isinstance(event, dict):
        raise _LineError("an event is a JSON object")


def _answer(rule: Rule, event: Event, *, explained: bool) -> dict[str, JSON]:
    answer: dict[str, JSON] = {"match": rule.matches(event)}
    if explained:
        answer["explain"] = explain(rule, event).to_json()
    return answer
