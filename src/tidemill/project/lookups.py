"""What the `$` of a mapping stands for: an event in its JSON form, a webhook's request, or what it came to.

All answer one name at a time, so that evaluating a path never builds the whole value; only the path `$`
does.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Protocol

from tidemill.events.event import JSON, Event

__all__ = [
    "ANSWER_PARTS",
    "ENRICHED",
    "EVENT_ATTRIBUTES",
    "REQUEST_PARTS",
    "Lookup",
    "Overlaid",
    "answer_lookup",
    "enriched_lookup",
    "event_lookup",
    "request_lookup",
]

#: Context attributes that CloudEvents defines, in the order of our JSON form.
EVENT_ATTRIBUTES = ("specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema")

#: What a request has at its top.
REQUEST_PARTS = ("body", "headers", "query")
#: What an appended event's answer has at its top.
ANSWER_PARTS = ("event", "position", "duplicate", "runs")
#: Where the values of enrichments stand beside an event's attributes; an extension of that name is hidden by them.
ENRICHED = "enriched"


class Lookup(Protocol):
    """The value that `$` stands for."""

    def __getitem__(self, name: str, /) -> JSON:
        """The member `name`; `KeyError` when there is none."""

    def whole(self) -> JSON:
        """Everything as one JSON value."""


class _EventLookup:
    """An event: attributes and extensions at the top, `data` (or `data_base64`) beside them."""

    __slots__ = ("_event",)

    def __init__(self, event: Event) -> None:
        self._event = event

    def __getitem__(self, name: str, /) -> JSON:
        event = self._event
        if name == "data":
            value = event.data
            if value is None or value.__class__ is bytes:
                raise KeyError(name)
            return value
        if name == "data_base64":
            if event.data.__class__ is not bytes:
                raise KeyError(name)
            return base64.b64encode(event.data).decode("ascii")
        found = event.attribute(name)
        if found is None:
            raise KeyError(name)
        return found

    def whole(self) -> JSON:
        names = (*EVENT_ATTRIBUTES, *self._event.extensions, "data", "data_base64")
        members = {}
        for name in names:
            try:
                members[name] = self[name]
            except KeyError:
                continue
        return members


class Overlaid:
    """A lookup with some members put in place of its own."""

    __slots__ = ("_below", "_members")

    def __init__(self, below: Lookup, members: Mapping[str, JSON]) -> None:
        self._below = below
        self._members = members

    def __getitem__(self, name: str, /) -> JSON:
        if name in self._members:
            return self._members[name]
        return self._below[name]

    def whole(self) -> JSON:
        """Everything as one JSON value."""
        below = self._below.whole()
        return {**below, **self._members} if isinstance(below, dict) else dict(self._members)


class _Headers(dict[str, str]):
    """Header fields by lower-case name, found in any case (RFC 9110, section 5.1)."""

    __slots__ = ()

    def __missing__(self, name: str) -> str:
        lower = name.lower()
        if lower == name:
            raise KeyError(name)
        return self[lower]


class _RequestLookup(dict[str, JSON]):
    """A few members by name."""

    __slots__ = ()

    def whole(self) -> JSON:
        return dict(self)


def event_lookup(event: Event) -> Lookup:
    """`$` as `event` in its JSON form (CloudEvents JSON format, section 3)."""
    return _EventLookup(event)


def request_lookup(body: JSON, headers: Mapping[str, str], query: Mapping[str, JSON]) -> Lookup:
    """`$` as a webhook's request: the parsed body, header fields (in any case), query parameters."""
    fields = _Headers((name.lower(), value) for name, value in headers.items())
    return _RequestLookup(body=body, headers=fields, query=query)


def answer_lookup(event: Event, position: int, *, duplicate: bool, runs: Sequence[JSON] = ()) -> Lookup:
    """`$` as what became of a request: its event in JSON form, its place in the log, its runs so far."""
    members = {"event": event_lookup(event).whole(), "position": position, "duplicate": duplicate}
    return _RequestLookup(members, runs=list(runs))


def enriched_lookup(event: Event, values: Mapping[str, JSON]) -> Lookup:
    """`$` as `event` in its JSON form with the values of its trigger's enrichments as `$.enriched`."""
    return Overlaid(_EventLookup(event), {ENRICHED: dict(values)})
