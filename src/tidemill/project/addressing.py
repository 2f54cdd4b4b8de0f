"""Whom an event is for beyond what triggers say of it: events that name their DAG, and events that are told again."""

from __future__ import annotations

from tidemill.events.event import Event
from tidemill.events.lifecycle import Type

__all__ = ["ADDRESSED", "told_to"]

#: Events of our own that name their DAG as subject, and the trigger they stand for.
ADDRESSED = {
    Type.SCHEDULE_TICK.value: "schedule",
    Type.DAG_REQUESTED.value: "manual",
    Type.RETRY_REQUESTED.value: "retry",
}


def told_to(event: Event) -> list[str]:
    """The triggers that a replay tells this event to; empty for all."""
    told = event.extensions.get("replayto")
    return told.split(",") if isinstance(told, str) and told else []
