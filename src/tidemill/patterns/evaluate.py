"""One line of `tidemill match`: a rule and an event as JSON text in, a verdict out. Pure; it never raises."""

from __future__ import annotations

from tidemill.errors import EventRejected
from tidemill.events import json_format, json_text
from tidemill.events.event import JSON
from tidemill.patterns.filters import compile_filters
from tidemill.patterns.pattern import compile_pattern
from tidemill.patterns.rule import PatternError

__all__ = ["match_line"]

_COMPILERS = {"pattern": compile_pattern, "filters": compile_filters}
#: Levels of a line that stand around the event's data.
_ENVELOPE = 2


def match_line(line: str | bytes) -> dict[str, bool | str]:
    """`{"match": bool}` for a line `{"pattern" | "filters": …, "event": …}`, else `{"error": what is wrong}`.

    Filters, and an event that has `specversion`, ask for a CloudEvent; a pattern takes other JSON objects as
    they are.
    """
    try:
        return {"match": _match(_parse(line))}
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


def _match(question: dict[str, JSON]) -> bool:
    dialects = [name for name in _COMPILERS if name in question]
    unknown = sorted(question.keys() - _COMPILERS.keys() - {"event"})
    if unknown:
        raise _LineError(f"unknown key {unknown[0]!r}; a line has event and one of pattern, filters")
    if len(dialects) != 1:
        raise _LineError("a line has one of pattern, filters, and not both")
    if "event" not in question:
        raise _LineError("a line has an event")
    (dialect,) = dialects
    rule = _COMPILERS[dialect](question[dialect])
    event = question["event"]
    if not isinstance(event, dict):
        raise _LineError("an event is a JSON object")
    if dialect == "filters" or "specversion" in event:
        return rule.matches(json_format.from_json(event))
    return rule.matches_json(event)
