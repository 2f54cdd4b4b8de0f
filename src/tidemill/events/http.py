"""The HTTP protocol binding of CloudEvents 1.0.2: headers and body to events and back; no server, no client.

The content type decides the content mode before any header does (section 3). Limits of body size belong to the
server, which knows them before it has read the body.
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

    Raises `EventRejected`: `unsupported_media_type` when the message carries no CloudEvent or one in a format we do
    not read, and every refusal of `json_format` and `validate`.
    """
    attributes: dict[bytes, bytes] = {}
    content_type: bytes | None = None
    size = 0
    for name, value in headers:
        lowered = name.lower()
        if lowered[:3] == b"ce-":
            size += len(name) + len(value)
            if lowered in attributes:
                raise _repeated(lowered)
            attributes[lowered] = value
        elif lowered == b"content-type":
            if content_type is not None:
                raise _repeated(lowered)
            content_type = value
    if size > limits.MAX_HEADER_BYTES:
        raise EventRejected(
            "headers_too_large", f"the ce- headers are larger than {limits.MAX_HEADER_BYTES} bytes"
        )
    media_type = None if content_type is None else content_type.decode("latin-1").strip(" \t")
    mode = media.content_mode(media_type)
    if mode is Mode.STRUCTURED:
        return [json_format.decode(body)], False
    if mode is Mode.BATCH:
        return json_format.decode_batch(body, max_events=max_events), True
    return [_from_binary(attributes, media_type, body)], False


def to_http_structured(event: Event) -> tuple[list[tuple[str, str]], bytes]:
    """Headers and body that carry the event in structured mode."""
    return [("content-type", media.STRUCTURED_TYPE)], json_format.encode(event)


def to_http_binary(event: Event) -> tuple[list[tuple[str, str]], bytes]:
    """Headers and body that carry the event in binary mode."""
    headers = [
        ("ce-specversion", "1.0"),
        ("ce-id", _encode_value(event.id)),
        ("ce-source", _encode_value(event.source)),
    ]
    headers.append(("ce-type", _encode_value(event.type)))
    for name in ("subject", "time", "dataschema"):
        value = event.attribute(name)
        if value is not None:
            headers.append((f"ce-{name}", _encode_value(value)))
    headers.extend((f"ce-{name}", _encode_value(value)) for name, value in event.extensions.items())
    if event.datacontenttype is not None:
        headers.append(("content-type", event.datacontenttype))
    elif event.data is not None and type(event.data) is not bytes:
        headers.append(
            ("content-type", media.JSON_TYPE)
        )  # implied by its absence (JSON format, section 3.1.2)
    body = b"" if event.data is None else media.encode_data(event.datacontenttype, event.data)
    return headers, body


def _from_binary(attributes: dict[bytes, bytes], content_type: str | None, body: bytes) -> Event:
    version = attributes.pop(b"ce-specversion", None)
    if version is None:
        raise EventRejected(
            "unsupported_media_type",
            f"this is no CloudEvent: send {media.STRUCTURED_TYPE}, {media.BATCH_TYPE} or ce- headers",
            attribute="content-type",
        )
    if version != b"1.0":
        validate.check_specversion(_decode_value(b"ce-specversion", version))
    if b"ce-datacontenttype" in attributes:
        raise validate.rejected("datacontenttype", "datacontenttype is sent as the content-type header")
    values = {name[3:].decode("latin-1"): _decode_value(name, value) for name, value in attributes.items()}
    take = values.pop
    return validate.assemble(
        take("id", None),
        take("source", None),
        take("type", None),
        take("subject", None),
        take("time", None),
        content_type,
        take("dataschema", None),
        media.decode_data(content_type, body) if body else None,
        values,
    )


def _decode_value(name: bytes, value: bytes) -> str:
    """The attribute value in a header (section 3.1.3.2): double quotes undone, then percent escapes, once."""
    value = value.strip(b" \t")
    if not value.isascii():
        raise _badly_encoded(name, "characters beyond ASCII are percent-encoded")
    if value[:1] == b'"' and len(value) > 1 and value[-1:] == b'"':
        value = _QUOTED_PAIR.sub(rb"\1", value[1:-1])
    if b"%" not in value:
        return value.decode("ascii")
    if _BAD_ESCAPE.search(value) is not None:
        raise _badly_encoded(name, "a percent sign is followed by two hexadecimal digits")
    try:
        return unquote_to_bytes(value).decode()
    except UnicodeDecodeError:
        detail = "a header is not UTF-8 after percent-decoding"
        raise EventRejected("invalid_unicode", detail, attribute=_shown(name)) from None


def _encode_value(value: ExtensionValue) -> str:
    if value is True or value is False:
        return "true" if value else "false"
    return quote(str(value), safe=_UNESCAPED)


def _repeated(name: bytes) -> EventRejected:
    return validate.rejected(_shown(name), "a header of an event is sent once")


def _badly_encoded(name: bytes, rule: str) -> EventRejected:
    return EventRejected("invalid_encoding", f"a header is badly encoded: {rule}", attribute=_shown(name))


def _shown(name: bytes) -> str:
    return validate.shown(name.removeprefix(b"ce-").decode("latin-1"))
