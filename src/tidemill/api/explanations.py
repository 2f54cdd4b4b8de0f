"""What a rule says of an event, as the API tells it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from tidemill.events.event import Event
from tidemill.patterns.explain import explain
from tidemill.patterns.explanation import Explanation
from tidemill.patterns.rule import Rule

__all__ = ["ExplanationBody", "explained"]


class ExplanationBody(BaseModel):
    """What a rule says of the event."""

    matched: bool
    failed: list[str] = Field(
        description="Conditions that do not hold, in the order in which they are written."
    )
    tree: dict[str, Any] = Field(description="Every clause with the values found and whether it holds.")
    lines: list[str] = Field(description="The same as text.")


def explained(rule: Rule, event: Event) -> ExplanationBody:
    """What `rule` says of `event`."""
    tree = explain(rule, event)
    return ExplanationBody(
        matched=tree.holds, failed=_failed(tree), tree=tree.to_json(), lines=list(tree.lines())
    )


def _failed(tree: Explanation) -> list[str]:
    """The conditions that do not hold, as text; empty for a rule that matches."""
    if tree.holds:
        return []
    found = [str(one).removeprefix("no: ") for one in tree if not one.holds]
    return found or [next(tree.lines()).removeprefix("no: ")]
