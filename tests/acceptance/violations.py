"""What the parts of the checker share: violations, and what an event is to a rule of `expected.json`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from tests.acceptance.evidence import Evidence, Line, Logged

__all__ = ["Found", "Violation", "due_pairs", "fits", "is_told_again", "sent"]


class Violation(NamedTuple):
    """Something that must never be."""

    code: str
    detail: str


Found = Iterator[Violation]


def sent(evidence: Evidence, what: str) -> list[Line]:
    """What the outside noted under this name."""
    return [line for line in evidence.sent if line["what"] == what]


def fits(event: Logged, wanted: Mapping[str, Any]) -> bool:
    """Whether a trigger or subscription wants events like this one."""
    return event.type in wanted["types"] and ("sources" not in wanted or event.source in wanted["sources"])


def is_told_again(event: Logged) -> bool:
    """Whether a replay told it: what it tells of has been counted at its first time."""
    return "replayid" in event.body


def due_pairs(evidence: Evidence) -> set[tuple[int, str]]:
    """(position, trigger) of everything that something has to become of."""
    triggers: Mapping[str, Any] = evidence.expected["triggers"]
    return {
        (event.position, name)
        for event in evidence.events
        for name in triggers
        if fits(event, triggers[name])
        and _is_told(event, name)
        and not (triggers[name].get("sometimes") and name not in evidence.live_at(event.position))
    }


def _is_told(event: Logged, trigger: str) -> bool:
    named = event.body.get("replayto")
    return named is None or trigger in named.split(",")
