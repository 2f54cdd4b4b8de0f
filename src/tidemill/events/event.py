"""What an event is: one CloudEvent (CloudEvents 1.0.2), the only form events have inside Tidemill.

An `Event` that exists is valid: the codecs and `validate.create` check the specification's rules, the plain
constructor is for values that were checked before (read back from the log).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["JSON", "Event", "ExtensionValue", "LoggedEvent"]

#: A JSON value as `orjson` reads it: str, int, float, bool, None, list, dict.
JSON = Any
#: CloudEvents types that an extension may have here: String, Integer (32 bit), Boolean.
ExtensionValue = str | int | bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One CloudEvent. Identity is (`source`, `id`)."""

    #: Unique within `source`; non-empty.
    id: str
    #: URI reference of the producer; non-empty.
    source: str
    #: What happened, reverse-DNS style; non-empty.
    type: str
    #: What it happened to, within `source`.
    subject: str | None = None
    #: When it happened, RFC 3339, exactly as the producer wrote it.
    time: str | None = None
    #: Media type of `data`; absent means JSON.
    datacontenttype: str | None = None
    #: URI of the schema that `data` follows.
    dataschema: str | None = None
    #: A JSON value; `str` for other text; `bytes` for everything else, and for what came as `data_base64`;
    #: None when there is no data (a JSON null is no data).
    data: JSON = None
    #: Extension attributes by name (lower-case letters and digits).
    extensions: Mapping[str, ExtensionValue] = field(default_factory=dict)

    def attribute(self, name: str) -> ExtensionValue | None:
        """The context attribute or extension `name`, None when absent (`specversion` is always "1.0")."""
        if name in _CONTEXT:
            value: ExtensionValue | None = getattr(self, name)
            return value
        if name == "specversion":
            return "1.0"
        return self.extensions.get(name)


_CONTEXT = frozenset({"id", "source", "type", "subject", "time", "datacontenttype", "dataschema"})


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """An event with its place in the event log: it is on disk."""

    #: Place in the log, from 1, without gaps.
    position: int
    #: When the log took it, microseconds since the epoch.
    received_at: int
    event: Event
