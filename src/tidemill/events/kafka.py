"""The Kafka protocol binding of CloudEvents: key, value and headers of a record to an event and back; no client.

The content type decides the content mode (section 3); batches do not exist on Kafka. The record's key is the
`partitionkey` extension (section 3.1), read where it is text that an attribute may hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, assert_never

from tidemill.errors import EventRejected
from tidemill.events import json_format, limits, media, validate
from tidemill.events.event import Event, ExtensionValue
from tidemill.events.media import Mode

__all__ = ["from_kafka", "to_kafka"]

_PARTITION_KEY = "partitionkey"


def from_kafka(key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes]]) -> Event:
    """The event that a record carries.

    Raises `EventRejected`: `unsupported_media_type` when the record carries no CloudEvent or one in a format we do
    not read, and every refusal of `json_format` and `validate`.
    """
    attributes, content_type = _sort_headers(headers)
    match media.content_mode(content_type):
        case Mode.STRUCTURED:
            event = json_format.decode(value or b"")
        case Mode.BINARY:
            event = _from_binary(attributes, content_type, value)
        case Mode.BATCH:
            raise EventRejected(
                "unsupported_media_type",
                "a Kafka record carries one event, not a batch",
                attribute="content-type",
            )
        case mode:
            assert_never(mode)
    return event if key is None else _with_key(event, key)


def to_kafka(
    event: Event, mode: Literal["structured", "binary"]
) -> tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]:
    """Key, value and headers of a record that carries the event; a record without data has no value in binary mode."""
    partition_key = event.extensions.get(_PARTITION_KEY)
    key = None if partition_key is None else _canonical(partition_key)
    if mode == "structured":
        return key, json_format.encode(event), [("content-type", media.STRUCTURED_TYPE.encode())]
    headers = [("ce_specversion", b"1.0")]
    for name in ("id", "source", "type", "subject", "time", "dataschema"):
        attribute = event.attribute(name)
        if attribute is not None:
            headers.append((f"ce_{name}", _canonical(attribute)))
    headers.extend((f"ce_{name}", _canonical(extension)) for name, extension in event.extensions.items())
    if event.datacontenttype is not None:
        headers.append(("content-type", event.datacontenttype.encode()))
    elif event.data is not None and type(event.data) is not bytes:
        headers.append(
            ("content-type", media.JSON_TYPE.encode())
        )  # implied by its absence (JSON format, 3.1.2)
    value = None if event.data is None else media.encode_data(event.datacontenttype, event.data)
    return key, value, headers


def _sort_headers(headers: Sequence[tuple[str, bytes]]) -> tuple[dict[str, str], str | None]:
    """Attributes by name, and the content type. Other headers are none of ours."""
    attributes: dict[str, str] = {}
    content_type: str | None = None
    size = 0
    for name, value in headers:
        lowered = name.lower()
        if lowered[:3] == "ce_":
            size += len(name) + len(value or b"")
            attribute = lowered[3:]
            if attribute in attributes:
                raise _repeated(attribute)
            attributes[attribute] = _decode_value(attribute, value)
        elif lowered == "content-type":
            if content_type is not None:
                raise _repeated(lowered)
            content_type = _decode_value(lowered, value).strip(" \t")
    if size > limits.MAX_HEADER_BYTES:
        raise EventRejected(
            "headers_too_large", f"the ce_ headers are larger than {limits.MAX_HEADER_BYTES} bytes"
        )
    return attributes, content_type


def _from_binary(attributes: dict[str, str], content_type: str | None, value: bytes | None) -> Event:
    take = attributes.pop
    version = take("specversion", None)
    if version is None:
        raise EventRejected(
            "unsupported_media_type",
            f"this is no CloudEvent: send {media.STRUCTURED_TYPE} or ce_ headers",
            attribute="content-type",
        )
    validate.check_specversion(version)
    if "datacontenttype" in attributes:
        raise validate.rejected("datacontenttype", "datacontenttype is sent as the content-type header")
    return validate.assemble(
        take("id", None),
        take("source", None),
        take("type", None),
        take("subject", None),
        take("time", None),
        content_type,
        take("dataschema", None),
        media.decode_data(content_type, value) if value else None,
        attributes,
    )


def _with_key(event: Event, key: bytes) -> Event:
    """The event with the record's key as `partitionkey`, unless it has one or the key cannot be an attribute."""
    if not key or len(key) > limits.MAX_ATTRIBUTE_BYTES or _PARTITION_KEY in event.extensions:
        return event
    try:
        return validate.extended(event, _PARTITION_KEY, key.decode())
    except (UnicodeDecodeError, EventRejected):
        return event  # keys belong to whoever partitions the topic; they are no reason to refuse an event


def _decode_value(name: str, value: bytes | None) -> str:
    try:
        return (value or b"").decode()
    except UnicodeDecodeError:
        raise EventRejected(
            "invalid_unicode", "a header is not UTF-8", attribute=validate.shown(name)
        ) from None


def _canonical(value: ExtensionValue) -> bytes:
    if value is True or value is False:
        return b"true" if value else b"false"
    return str(value).encode()


def _repeated(name: str) -> EventRejected:
    return validate.rejected(validate.shown(name), "a header of an event is sent once")
