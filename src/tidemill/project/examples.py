"""Runs a trigger's examples: events that must match or must not, and the parameters matching ones give.

A rule that does not do what its author says is refused at load, with the conditions that decided.
"""

from __future__ import annotations

from collections.abc import Callable

from tidemill.errors import EventRejected
from tidemill.events import json_format
from tidemill.events.event import JSON, Event
from tidemill.patterns.condition import quote
from tidemill.patterns.explain import explain
from tidemill.patterns.explanation import Explanation
from tidemill.patterns.rule import Rule
from tidemill.project.entry import Entry

__all__ = ["Arguments", "check_examples"]

#: Checks the parameters an event gives; the reason why they do not fit, None when they do.
Arguments = Callable[[Event], str | None]

#: What an example does not say for itself.
_DEFAULTS: dict[str, JSON] = {"specversion": "1.0", "id": "example", "source": "/example"}
#: Findings named in one message.
_NAMED = 3


def check_examples(entry: Entry, rule: Rule | None, arguments: Arguments | None) -> None:
    """Note a problem for every example that is no event or does not behave."""
    for at, written in entry.items("examples", "match"):
        event = _event(entry, at, written)
        if event is None:
            continue
        if rule is not None and not rule.matches(event):
            entry.problem(at, f"this example must match and does not: {_why(rule, event, holds=False)}")
        if arguments is not None and (reason := arguments(event)):
            entry.problem(at, f"this example cannot start the DAG: {reason}")
    for at, written in entry.items("examples", "no_match"):
        event = _event(entry, at, written)
        if event is not None and rule is not None and rule.matches(event):
            entry.problem(at, f"this example must not match and does: {_why(rule, event, holds=True)}")


def _event(entry: Entry, at: str, written: JSON) -> Event | None:
    if not isinstance(written, dict):
        return None
    try:
        return json_format.from_json({**_DEFAULTS, **written})
    except EventRejected as error:
        entry.problem(at, f"this example is no event: {error.detail}")
        return None


def _why(rule: Rule, event: Event, *, holds: bool) -> str:
    """The conditions that decided, in words."""
    findings = [finding for finding in explain(rule, event) if finding.holds is holds]
    named = "; ".join(_words(finding) for finding in findings[:_NAMED])
    return named or "the rule as a whole decides so"


def _words(finding: Explanation) -> str:
    found = " and ".join(quote(value) for value in finding.found) or "not there"
    return f"{finding.path} is {found}, wanted {finding.condition}"
