"""What the `$` of a mapping stands for: an event in its JSON form, or a webhook's request.

Both answer one name at a time, so that evaluating a path never builds the whole value; only the path `$`
does.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Protocol

from tidemill.events.event import JSON, Event

__all__ = ["EVENT_ATTRIBUTES", "REQUEST_PARTS", "Lookup", "event_lookup", "request_lookup"]

#: Context attributes that CloudEvents defines, in the order of our JSON form.
EVENT_ATTRIBUTES = ("specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema")

#: What a request has at its top.
REQUEST_PARTS = ("body", "headers", "query")


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


class _Headers(dict[str, str]):
    """Header fields by lower-case name, found in any case (RFC 9110, section 5.1)."""

    __slots__ = ()

    def __missing__(self, name: str) -> str:
        lower = name.lower()
        if lower == name:
            raise KeyError(name)
        return self[lower]


class _RequestLookup(dict[str, JSON]):
    """A request: `body`, `headers` and `query`."""

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
