"""The attribute rules of CloudEvents 1.0.2: the one place where unchecked values become an `Event`.

Rules, to be cited by number:

1. Required attributes are non-empty strings, optional ones too where they are there; a missing `id` is never
   invented.
2. Strings hold no control characters, no surrogates, no noncharacters (section "Type System") and at most
   `limits.MAX_ATTRIBUTE_BYTES` bytes.
3. `source` is a URI reference, `dataschema` a URI with a scheme (RFC 3986); `time` is RFC 3339 and a day that
   exists; `datacontenttype` is a media type (RFC 2045).
4. Extension names are lower-case letters and digits and no other member's name; values are String, Integer
   (32 bit) or Boolean.
5. `data` is a JSON value or bytes when the media type is JSON or absent, else str or bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tidemill.errors import EventRejected
from tidemill.events import json_value, limits, media, timestamp, uri
from tidemill.events.event import JSON, Event, ExtensionValue
from tidemill.events.lifecycle import REPLAY_EXTENSIONS, RESERVED_PREFIX

__all__ = ["assemble", "check_specversion", "create", "extended", "refuse_reserved", "rejected", "shown"]

#: So many characters are within the limit of bytes whatever they are.
_SHORT = limits.MAX_ATTRIBUTE_BYTES // 4
_FORBIDDEN = re.compile(
    "[\\x00-\\x1f\\x7f-\\x9f\\ud800-\\udfff\\ufdd0-\\ufdef"
    + "".join(f"{chr(plane + 0xFFFE)}{chr(plane + 0xFFFF)}" for plane in range(0, 0x110000, 0x10000))
    + "]"
)
_EXTENSION_NAME = re.compile(rf"[a-z0-9]{{1,{limits.MAX_EXTENSION_NAME}}}")
_TAKEN_NAMES = frozenset(
    {"specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema", "data"}
)


def create(
    *,
    id: str,  # noqa: A002 - the attribute's own name
    source: str,
    type: str,  # noqa: A002 - the attribute's own name
    subject: str | None = None,
    time: str | None = None,
    datacontenttype: str | None = None,
    dataschema: str | None = None,
    data: object = None,
    extensions: Mapping[str, ExtensionValue | None] | None = None,
) -> Event:
    """A valid event from values of any origin; None stands for an absent attribute, also in `extensions`.

    Raises `EventRejected` that names the attribute.
    """
    if data is not None and not isinstance(data, bytes):
        data = json_value.normalize(data)
    present = {name: value for name, value in (extensions or {}).items() if value is not None}
    return assemble(id, source, type, subject, time, datacontenttype, dataschema, data, present)


def extended(event: Event, name: str, value: ExtensionValue) -> Event:
    """The event with one more extension, or `EventRejected`."""
    extensions = {**event.extensions, name: value}
    _check_extensions(extensions)
    return replace(event, extensions=extensions)


def refuse_reserved(event: Event) -> None:
    """Refuse an event from outside whose type (`reserved_type`) or extension claims to be one of our own."""
    if event.type.startswith(RESERVED_PREFIX):
        detail = f"types that start with {RESERVED_PREFIX} are made here only"
        raise EventRejected("reserved_type", detail, attribute="type")
    if event.extensions:
        for name in REPLAY_EXTENSIONS:
            if name in event.extensions:
                detail = f"the extension {name} marks events that are told again, and is set here only"
                raise EventRejected("reserved_extension", detail, attribute=name)


def check_specversion(version: object) -> None:
    """Refuse every `specversion` but "1.0"."""
    if version == "1.0":
        return
    if type(version) is not str:
        raise rejected("specversion", "is missing" if version is None else "is not a string")
    detail = 'only CloudEvents specversion "1.0" is supported'
    raise EventRejected("unsupported_specversion", detail, attribute="specversion")


def rejected(attribute: str, fault: str) -> EventRejected:
    """The refusal (`invalid_cloudevent`) of an attribute: its name and what is wrong with it."""
    return EventRejected("invalid_cloudevent", f"{attribute} {fault}", attribute=attribute)


def shown(name: object) -> str:
    """A name that broke the rules, safe to show: ASCII, without control characters, cut."""
    return ascii(name)[1:-1][: limits.MAX_EXTENSION_NAME] if isinstance(name, str) else "extensions"


def assemble(
    event_id: Any,
    source: Any,
    event_type: Any,
    subject: Any,
    time: Any,
    datacontenttype: Any,
    dataschema: Any,
    data: JSON,
    extensions: dict[str, Any],
) -> Event:
    """As `create`, for codecs: `data` was read from JSON text, `extensions` has no None and is taken over.

    Positional, and without a call per attribute where all is well: every event passes here.
    """
    if type(event_id) is not str or not event_id or len(event_id) > _SHORT or not event_id.isprintable():
        _check("id", event_id)
    if (
        type(event_type) is not str
        or not event_type
        or len(event_type) > _SHORT
        or not event_type.isprintable()
    ):
        _check("type", event_type)
    if type(source) is not str or not source or len(source) > _SHORT:
        _check("source", source)
    if not uri.is_reference(source):
        raise rejected("source", "is not a URI reference (RFC 3986)")
    if subject is not None:
        _check("subject", subject)
    if time is not None:
        _check("time", time)
        if (fault := timestamp.problem(time)) is not None:
            raise rejected("time", fault)
    if datacontenttype is not None and datacontenttype != media.JSON_TYPE:
        _check_content(datacontenttype, data)
    if dataschema is not None:
        _check("dataschema", dataschema)
        if not uri.is_absolute(dataschema):
            raise rejected("dataschema", "is not a URI with a scheme (RFC 3986)")
    if extensions:
        _check_extensions(extensions)
    return Event(
        id=event_id,
        source=source,
        type=event_type,
        subject=subject,
        time=time,
        datacontenttype=datacontenttype,
        dataschema=dataschema,
        data=data,
        extensions=extensions,
    )


def _check(name: str, value: object) -> None:
    """Rules 1 and 2."""
    if type(value) is not str:
        raise rejected(name, "is missing" if value is None else "is not a string")
    if not value:
        raise rejected(name, "is empty")
    _check_text(name, value)


def _check_text(name: str, value: str) -> None:
    """Rule 2. Printable strings hold nothing forbidden; only the rest is searched."""
    if not value.isprintable() and (found := _FORBIDDEN.search(value)) is not None:
        raise rejected(name, f"holds the forbidden character U+{ord(found[0]):04X}")
    if len(value) > _SHORT and len(value.encode()) > limits.MAX_ATTRIBUTE_BYTES:
        raise rejected(name, f"is longer than {limits.MAX_ATTRIBUTE_BYTES} bytes")


def _check_content(datacontenttype: Any, data: JSON) -> None:
    """Rule 3 for `datacontenttype`, rule 5 for `data`."""
    _check("datacontenttype", datacontenttype)
    parsed = media.parse(datacontenttype)
    if parsed is None:
        raise rejected("datacontenttype", "is not a media type (RFC 2045)")
    if data is not None and not parsed.is_json and not isinstance(data, str | bytes):
        raise rejected("data", "is neither a string nor data_base64, as its media type asks for")


def _check_extensions(extensions: Mapping[Any, Any]) -> None:
    """Rule 4."""
    if len(extensions) > limits.MAX_EXTENSIONS:
        raise EventRejected(
            "invalid_cloudevent", f"an event has at most {limits.MAX_EXTENSIONS} extension attributes"
        )
    for name, value in extensions.items():
        if type(name) is not str or name in _TAKEN_NAMES or _EXTENSION_NAME.fullmatch(name) is None:
            raise rejected(shown(name), "is no extension's name: those are 1 to 64 of a to z and 0 to 9")
        kind = type(value)
        if kind is str:
            if len(value) > _SHORT or not value.isprintable():
                _check_text(name, value)
        elif kind is int:
            if not limits.MIN_EXTENSION_INTEGER <= value <= limits.MAX_EXTENSION_INTEGER:
                raise rejected(name, "does not fit into 32 bits; send it as a string")
        elif kind is not bool:
            raise rejected(name, "is not a string, an integer or a boolean")
