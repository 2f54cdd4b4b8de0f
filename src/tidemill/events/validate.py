"""The attribute rules of CloudEvents 1.0.2: the one place where an `Event` comes to exist from unchecked values.

Rules, to be cited by number:

1. Required attributes are non-empty strings (section "REQUIRED Attributes"); a missing `id` is never invented.
2. Strings hold no control characters, no surrogates, no noncharacters (section "Type System") and at most
   `limits.MAX_ATTRIBUTE_BYTES` bytes.
3. `source` is a URI reference, `dataschema` a URI with a scheme (RFC 3986); `time` is RFC 3339 and a day that
   exists; `datacontenttype` is a media type (RFC 2045).
4. Extension names are lower-case letters and digits and no attribute's or member's name; values are String,
   Integer (32 bit) or Boolean.
5. `data` is a JSON value or bytes when the media type is JSON or absent, else str or bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tidemill.errors import EventRejected
from tidemill.events import json_text, limits, media, uri
from tidemill.events.event import JSON, Event, ExtensionValue
from tidemill.events.lifecycle import RESERVED_PREFIX

__all__ = ["assemble", "check_specversion", "create", "extended", "refuse_reserved", "rejected", "shown"]

_SHORT = limits.MAX_ATTRIBUTE_BYTES // 4  # so many characters fit in any case
_FORBIDDEN = re.compile(
    "[\\x00-\\x1f\\x7f-\\x9f\\ud800-\\udfff\\ufdd0-\\ufdef"
    + "".join(f"{chr(plane + 0xFFFE)}{chr(plane + 0xFFFF)}" for plane in range(0, 0x110000, 0x10000))
    + "]"
)
_TIME = re.compile(
    r"([0-9]{4})-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])[Tt]"
    r"([01][0-9]|2[0-3]):([0-5][0-9]):([0-5][0-9]|60)(?:\.[0-9]+)?"
    r"(?:[Zz]|([+-])([01][0-9]|2[0-3]):([0-5][0-9]))"
)
_EXTENSION_NAME = re.compile(rf"[a-z0-9]{{1,{limits.MAX_EXTENSION_NAME}}}")
_TAKEN_NAMES = frozenset(
    {"specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema", "data"}
)
_DAYS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def create(
    *,
    id: str,  # noqa: A002 - the attribute's own name
    source: str,
    type: str,  # noqa: A002
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
        data = json_text.normalize(data)
    present = {name: value for name, value in (extensions or {}).items() if value is not None}
    return assemble(id, source, type, subject, time, datacontenttype, dataschema, data, present)


def extended(event: Event, name: str, value: ExtensionValue) -> Event:
    """The event with one more extension, or `EventRejected`."""
    extensions = {**event.extensions, name: value}
    _check_extensions(extensions)
    return replace(event, extensions=extensions)


def refuse_reserved(event: Event) -> None:
    """Refuse an event from outside whose type claims to be one of our own (`reserved_type`)."""
    if event.type.startswith(RESERVED_PREFIX):
        raise EventRejected(
            "reserved_type", f"types that start with {RESERVED_PREFIX} are made here only", attribute="type"
        )


def check_specversion(version: object) -> None:
    """Refuse every `specversion` but "1.0"."""
    if version == "1.0":
        return
    if version is None:
        raise rejected("specversion", "specversion is missing")
    if not isinstance(version, str):
        raise rejected("specversion", "specversion is not a string")
    raise EventRejected(
        "unsupported_specversion", "only CloudEvents specversion 1.0 is supported", attribute="specversion"
    )


def rejected(attribute: str, detail: str) -> EventRejected:
    """An `invalid_cloudevent` refusal of `attribute`."""
    return EventRejected("invalid_cloudevent", detail, attribute=attribute)


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
    """The hot path of the codecs: as `create`, for data that was read from JSON text and extensions without None.

    Takes over `extensions`. Positional, because every event passes here.
    """
    if type(event_id) is not str or not event_id or len(event_id) > _SHORT or not event_id.isprintable():
        _check_required("id", event_id)
    if (
        type(event_type) is not str
        or not event_type
        or len(event_type) > _SHORT
        or not event_type.isprintable()
    ):
        _check_required("type", event_type)
    if type(source) is not str or not source or len(source) > _SHORT:
        _check_required("source", source)
    if not uri.is_reference(source):
        raise rejected("source", "source is not a URI reference (RFC 3986)")
    if subject is not None:
        _check_required("subject", subject)
    if time is not None:
        _check_required("time", time)
        _check_time(time)
    if datacontenttype is not None and datacontenttype != media.JSON_TYPE:
        _check_content(datacontenttype, data)
    if dataschema is not None:
        _check_required("dataschema", dataschema)
        if not uri.is_absolute(dataschema):
            raise rejected("dataschema", "dataschema is not a URI with a scheme (RFC 3986)")
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


def _check_required(name: str, value: object) -> None:
    """Rules 1 and 2 for an attribute that must not be empty when it is there."""
    if type(value) is not str:
        raise rejected(name, f"{name} is missing" if value is None else f"{name} is not a string")
    if not value:
        raise rejected(name, f"{name} is empty")
    _check_text(name, value)


def _check_text(name: str, value: str) -> None:
    """Rule 2. Printable strings hold nothing forbidden; only the rest is searched."""
    if not value.isprintable() and (found := _FORBIDDEN.search(value)) is not None:
        raise rejected(name, f"{name} holds the forbidden character U+{ord(found[0]):04X}")
    if len(value) > _SHORT and len(value.encode()) > limits.MAX_ATTRIBUTE_BYTES:
        raise rejected(name, f"{name} is longer than {limits.MAX_ATTRIBUTE_BYTES} bytes")


def _check_time(time: str) -> None:
    """Rule 3: the grammar of RFC 3339, days that exist, and second 60 only where a leap second can be."""
    found = _TIME.fullmatch(time)
    if found is None:
        raise rejected("time", "time is not RFC 3339 (2006-01-02T15:04:05Z)")
    if found[3] > "28":
        year, month, day = int(found[1]), int(found[2]), int(found[3])
        if day > _days_in_month(year, month):
            raise rejected("time", "time names a day that does not exist")
    if found[6] == "60" and not _is_last_minute_of_day(found):
        raise rejected("time", "time names a second 60 that is no leap second")


def _days_in_month(year: int, month: int) -> int:
    is_leap_year = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    return 29 if month == 2 and is_leap_year else _DAYS[month - 1]


def _is_last_minute_of_day(found: re.Match[str]) -> bool:
    """Whether the time is 23:59 in UTC, the minute that leap seconds are added to."""
    minutes = int(found[4]) * 60 + int(found[5])
    if found[7] is not None:
        offset = int(found[8]) * 60 + int(found[9])
        minutes += -offset if found[7] == "+" else offset
    return minutes % 1440 == 1439


def _check_content(datacontenttype: object, data: JSON) -> None:
    """Rule 3 for `datacontenttype`, rule 5 for `data`."""
    _check_required("datacontenttype", datacontenttype)
    parsed = media.parse(str(datacontenttype))
    if parsed is None:
        raise rejected("datacontenttype", "datacontenttype is not a media type (RFC 2045)")
    if data is not None and not parsed.is_json and not isinstance(data, str | bytes):
        raise rejected("data", f"data of media type {parsed.name} is a string or data_base64")


def _check_extensions(extensions: Mapping[Any, Any]) -> None:
    """Rule 4."""
    if len(extensions) > limits.MAX_EXTENSIONS:
        raise rejected("extensions", f"an event has at most {limits.MAX_EXTENSIONS} extension attributes")
    for name, value in extensions.items():
        if name in _TAKEN_NAMES or type(name) is not str or _EXTENSION_NAME.fullmatch(name) is None:
            raise rejected(
                shown(name), "an extension's name is not 1 to 64 lower-case letters and digits of its own"
            )
        kind = type(value)
        if kind is str:
            if len(value) > _SHORT or not value.isprintable():
                _check_text(name, value)
        elif kind is int:
            if not limits.MIN_EXTENSION_INTEGER <= value <= limits.MAX_EXTENSION_INTEGER:
                raise rejected(name, f"{name} does not fit into 32 bits; send it as a string")
        elif kind is not bool:
            raise rejected(name, f"{name} is not a string, an integer or a boolean")


def shown(name: object) -> str:
    """A name that broke the rules, safe to show: ASCII, without control characters, cut."""
    return ascii(name)[1:-1][: limits.MAX_EXTENSION_NAME] if isinstance(name, str) else "extensions"
