"""The event as the JSON object that it is in the CloudEvents JSON format, one member at a time. Pure."""

from __future__ import annotations

import base64
from collections.abc import Iterable

from tidemill.events.event import JSON, Event, ExtensionValue

__all__ = ["COMPUTED", "CONTEXT_ATTRIBUTES", "canonical", "members_of", "read_member"]

#: Context attributes that are fields of `Event`.
CONTEXT_ATTRIBUTES = frozenset({"id", "source", "type", "subject", "time", "datacontenttype", "dataschema"})
#: Members that are no fields of `Event`.
COMPUTED = frozenset({"specversion", "data_base64"})


def canonical(value: ExtensionValue) -> str:
    """An attribute's value as text, as the CloudEvents type system writes it."""
    if isinstance(value, str):
        return value
    return str(value).lower() if isinstance(value, bool) else str(value)


def read_member(event: Event, name: str) -> JSON:
    """The member `name` of the event's JSON form; None when there is none (null data is none)."""
    match name:
        case "data":
            return None if isinstance(event.data, bytes) else event.data
        case "data_base64":
            return base64.b64encode(event.data).decode() if isinstance(event.data, bytes) else None
        case _:
            return event.attribute(name)


def members_of(event: Event, names: Iterable[str]) -> dict[str, JSON]:
    """The members `names` of the event's JSON form, those that are there."""
    return {name: value for name in names if (value := read_member(event, name)) is not None}
