"""What a webhook's request says, and the CloudEvent that its source's templates make of it. No I/O, no clock."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from urllib.parse import parse_qsl

from tidemill.errors import EventRejected
from tidemill.events import json_text
from tidemill.events.event import JSON, Event
from tidemill.project.composition import compose
from tidemill.project.mapping import request_lookup
from tidemill.project.model import WebhookSource

__all__ = ["from_request", "join_headers", "parse_body"]

_FORM = "application/x-www-form-urlencoded"
_MAX_FORM_FIELDS = 1000
#: Never visible to templates: an event is kept and shown, a credential is not.
_HIDDEN_HEADERS = frozenset({"authorization", "cookie", "proxy-authorization", "x-gitlab-token"})


def join_headers(headers: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    """Header fields by lower-case name; repeated ones are joined (RFC 9110, section 5.3)."""
    joined: dict[str, str] = {}
    for name, value in headers:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        joined[key] = f"{joined[key]}, {text}" if key in joined else text
    return joined


def from_request(
    source: WebhookSource,
    headers: Mapping[str, str],
    query_string: bytes,
    raw: bytes,
    *,
    value: JSON,
    delivery_id: str | None = None,
) -> Event:
    """The event that `source` makes of a request; `headers` have lower-case names.

    `raw` is the body, `value` what `parse_body` made of it, `delivery_id` the sender's own id where its way to
    sign has one. Raises `EventRejected`: all of `validate.create`, and `mapping_failed` with the path that
    leads nowhere.
    """
    query = _fields(query_string.decode("latin-1"))
    visible = {name: text for name, text in headers.items() if name not in _HIDDEN_HEADERS}
    lookup = request_lookup(value, visible, query)
    fallback = delivery_id or headers.get("webhook-id") or hashlib.sha256(raw).hexdigest()
    return compose(source.attributes, source.data, lookup, whole=value, fallback_id=fallback)


def parse_body(content_type: str, raw: bytes) -> JSON:
    """JSON, or the fields of a form; raises `EventRejected` (`unsupported_media_type`, all of `json_text.parse`)."""
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
