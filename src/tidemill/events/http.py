"""The HTTP protocol binding of CloudEvents 1.0.2: headers and body to events and back; no server or client.

The content type decides the content mode before any header does (section 3). Limits of body size belong to
the server, which knows them before it has read the body.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import quote, unquote_to_bytes

from tidemill.errors import EventRejected
from tidemill.events import json_format, limits, media, validate
from tidemill.events.event import Event, ExtensionValue
from tidemill.events.media import Mode

__all__ = ["from_http", "to_http_binary", "to_http_structured"]

_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_QUOTED_PAIR = re.compile(rb"\\(.)", re.DOTALL)
#: Printable ASCII but space, double quote and percent sign (section 3.1.3.2).
_UNESCAPED = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')


def from_http(
    headers: Iterable[tuple[bytes, bytes]], body: bytes, *, max_events: int
) -> tuple[list[Event], bool]:
    """The events of one request or response, and whether it was a batch.

    Raises `EventRejected`: `unsupported_media_type` when the message carries no CloudEvent, or one in a
    format that is not read here; `headers_too_large`, `invalid_encoding`; what `json_format` and `validate`
    refuse.
    """
    attributes: list[tuple[bytes, bytes]] = []
    content_type: str | None = None
    for name, value in headers:
        lowered = name.lower()
        if lowered[:3] == b"ce-":
            attributes.append((lowered[3:], value))
        elif lowered == b"content-type":
            if content_type is not None:
                raise _repeated("content-type")
            content_type = value.decode("latin-1").strip(" \t")
    match media.content_mode(content_type):
        case Mode.STRUCTURED:
            return [json_format.decode(body)], False
        case Mode.BATCH:
            return json_format.decode_batch(body, max_events=max_events), True
        case Mode.BINARY:
            return [_from_binary(attributes, content_type, body)], False


def to_http_structured(event: Event) -> tuple[list[tuple[str, str]], bytes]:
    """Headers and body that carry the event in structured mode."""
    return [("content-type", media.STRUCTURED_TYPE)], json_format.encode(event)


def to_http_binary(event: Event) -> tuple[list[tuple[str, str]], bytes]:
    """Headers and body that carry the event in binary mode."""
    headers = [("ce-specversion", "1.0")]
    for name in ("id", "source", "type", "subject", "time", "dataschema"):
        value = event.attribute(name)
        if value is not None:
            headers.append((f"ce-{name}", _encode_value(value)))
    headers.extend((f"ce-{name}", _encode_value(value)) for name, value in event.extensions.items())
    content_type = event.datacontenttype or media.implied_type(event)
    if content_type is not None:
        headers.append(("content-type", content_type))
    body = b"" if event.data is None else media.encode_data(content_type, event.data)
    return headers, body


def _from_binary(headers: list[tuple[bytes, bytes]], content_type: str | None, body: bytes) -> Event:
    values = _decode_attributes(headers)
    take = values.pop
    version = take("specversion", None)
    if version is None:
        raise EventRejected(
            "unsupported_media_type",
            f"this is no CloudEvent: send {media.STRUCTURED_TYPE}, {media.BATCH_TYPE} or ce- headers",
            attribute="content-type",
        )
    validate.check_specversion(version)
    if "datacontenttype" in values:
        raise validate.rejected("datacontenttype", "is sent as the content-type header")
    data = media.decode_data(content_type, body) if body else None
    event_id, source, event_type = take("id", None), take("source", None), take("type", None)
    subject, time, dataschema = take("subject", None), take("time", None), take("dataschema", None)
    return validate.assemble(
        event_id, source, event_type, subject, time, content_type, dataschema, data, values
    )


def _decode_attributes(headers: list[tuple[bytes, bytes]]) -> dict[str, str]:
    values: dict[str, str] = {}
    size = 0
    for raw_name, raw_value in headers:
        name = raw_name.decode("latin-1")
        size += len(raw_name) + len(raw_value) + 3
        if name in values:
            raise _repeated(name)
        values[name] = _decode_value(name, raw_value)
    if size > limits.MAX_HEADER_BYTES:
        detail = f"the ce- headers are larger than {limits.MAX_HEADER_BYTES} bytes"
        raise EventRejected("headers_too_large", detail)
    return values


def _decode_value(name: str, value: bytes) -> str:
    """The attribute value in a header (section 3.1.3.2): double quotes undone, then percent escapes, once."""
    value = value.strip(b" \t")
    if not value.isascii():
        raise _badly_encoded(name, "characters beyond ASCII must be percent-encoded")
    if value[:1] == b'"' and len(value) > 1 and value[-1:] == b'"':
        value = _QUOTED_PAIR.sub(rb"\1", value[1:-1])
    if b"%" not in value:
        return value.decode("ascii")
    if _BAD_ESCAPE.search(value) is not None:
        raise _badly_encoded(name, "a percent sign must be followed by two hexadecimal digits")
    try:
        return unquote_to_bytes(value).decode()
    except UnicodeDecodeError:
        detail = "a header is not UTF-8 after percent-decoding"
        raise EventRejected("invalid_unicode", detail, attribute=validate.shown(name)) from None


def _encode_value(value: ExtensionValue) -> str:
    if value is True or value is False:
        return "true" if value else "false"
    return quote(str(value), safe=_UNESCAPED)


def _repeated(name: str) -> EventRejected:
    return validate.rejected(validate.shown(name), "is sent twice")


def _badly_encoded(name: str, rule: str) -> EventRejected:
    detail = f"a header is badly encoded: {rule}"
    return EventRejected("invalid_encoding", detail, attribute=validate.shown(name))
