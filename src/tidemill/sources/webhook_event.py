"""What a webhook's request says, and the CloudEvent that its source's templates make of it. No I/O, no clock.

Values come from outside and end up in attributes: each is converted or refused here, never guessed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from urllib.parse import parse_qsl

from tidemill.errors import EventRejected
from tidemill.events import json_text, validate
from tidemill.events.event import JSON, Event, ExtensionValue
from tidemill.project.mapping import Lookup, MappingFailed, Template, request_lookup
from tidemill.project.model import WebhookSource

__all__ = ["from_request", "join_headers"]

_FORM = "application/x-www-form-urlencoded"
_MAX_FORM_FIELDS = 1000
#: Never visible to templates: an event is kept and shown, a credential is not.
_HIDDEN_HEADERS = frozenset({"authorization", "cookie", "proxy-authorization"})
#: Attributes that are text whatever the sender's value is; extensions may be numbers and booleans.
_TEXT_ATTRIBUTES = frozenset({"id", "source", "type", "subject", "time", "datacontenttype", "dataschema"})
_NEEDED = ("id", "source", "type")


def join_headers(headers: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    """Header fields by lower-case name; repeated ones are joined (RFC 9110, section 5.3)."""
    joined: dict[str, str] = {}
    for name, value in headers:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        joined[key] = f"{joined[key]}, {text}" if key in joined else text
    return joined


def from_request(source: WebhookSource, headers: Mapping[str, str], query_string: bytes, raw: bytes) -> Event:
    """The event that `source` makes of a request; `headers` have lower-case names.

    Raises `EventRejected`: `unsupported_media_type`, all of `json_text.parse` and `validate.create`, and
    `mapping_failed` with the path that leads nowhere.
    """
    value = _parse(headers.get("content-type", ""), raw)
    query = _fields(query_string.decode("latin-1"))
    visible = {name: text for name, text in headers.items() if name not in _HIDDEN_HEADERS}
    lookup = request_lookup(value, visible, query)
    fallback = headers.get("webhook-id") or hashlib.sha256(raw).hexdigest()
    return _to_event(source, lookup, whole=value, fallback_id=fallback)


def _parse(content_type: str, raw: bytes) -> JSON:
    media_type, _, parameters = content_type.partition(";")
    media_type = media_type.strip().lower()
    _check_charset(parameters)
    if media_type == "application/json" or media_type.endswith("+json"):
        return json_text.parse(raw)
    if media_type == _FORM:
        try:
            return _fields(raw.decode("utf-8"))
        except UnicodeDecodeError as error:
            raise EventRejected("invalid_unicode", "the form is not UTF-8") from error
    raise EventRejected("unsupported_media_type", f"content-type must be application/json, …+json or {_FORM}")


def _check_charset(parameters: str) -> None:
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset" and value.strip().strip('"').lower() not in (
            "utf-8",
            "utf8",
            "us-ascii",
        ):
            raise EventRejected("unsupported_media_type", "the charset must be UTF-8")


def _fields(text: str) -> dict[str, JSON]:
    """Form fields by name; a repeated one is a list."""
    try:
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=_MAX_FORM_FIELDS)
    except UnicodeDecodeError as error:
        raise EventRejected("invalid_unicode", "a field is not UTF-8") from error
    except ValueError as error:
        raise EventRejected("invalid_encoding", f"there are more than {_MAX_FORM_FIELDS} fields") from error
    fields: dict[str, JSON] = {}
    for name, value in pairs:
        if name not in fields:
            fields[name] = value
        elif isinstance(fields[name], list):
            fields[name].append(value)
        else:
            fields[name] = [fields[name], value]
    return fields


def _to_event(source: WebhookSource, lookup: Lookup, *, whole: JSON, fallback_id: str) -> Event:
    attributes: dict[str, ExtensionValue] = {}
    for name, template in source.attributes.items():
        value = _attribute(name, _evaluate(template, lookup, name))
        if value is not None:
            attributes[name] = value
    data = whole if source.data is None else _evaluate(source.data, lookup, "data")
    event = validate.create(
        id=str(attributes.pop("id", fallback_id)),
        source=str(attributes.pop("source")),
        type=str(attributes.pop("type")),
        subject=_optional_text(attributes, "subject"),
        time=_optional_text(attributes, "time"),
        datacontenttype=_optional_text(attributes, "datacontenttype"),
        dataschema=_optional_text(attributes, "dataschema"),
        data=data,
        extensions=attributes,
    )
    validate.refuse_reserved(event)
    return event


def _optional_text(attributes: dict[str, ExtensionValue], name: str) -> str | None:
    value = attributes.pop(name, None)
    return None if value is None else str(value)


def _evaluate(template: Template, lookup: Lookup, name: str) -> JSON:
    try:
        return template.evaluate(lookup)
    except MappingFailed as error:
        raise EventRejected("mapping_failed", str(error), attribute=name) from error


def _attribute(name: str, value: JSON) -> ExtensionValue | None:
    """`value` as the attribute `name`; None leaves an optional attribute out."""
    match value:
        case None if name not in _NEEDED:
            return None
        case bool() if name in _TEXT_ATTRIBUTES:
            return "true" if value else "false"
        case int() if name in _TEXT_ATTRIBUTES:
            return str(value)
        case "" if name in _NEEDED:
            raise EventRejected("mapping_failed", f"the value for {name} is empty", attribute=name)
        case str() | bool() | int():
            return value
    raise EventRejected(
        "mapping_failed", f"the value for {name} is not text, a whole number or true/false", attribute=name
    )
