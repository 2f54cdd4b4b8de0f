"""The Kafka protocol binding of CloudEvents: key, value and headers to an event and back; no client.

The content type decides the content mode (section 3); batches do not exist on Kafka. The key of a record is
the `partitionkey` extension (section 3.1), read where it is text that an attribute may hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from tidemill.errors import EventRejected
from tidemill.events import json_format, limits, media, validate
from tidemill.events.event import Event, ExtensionValue
from tidemill.events.media import Mode

__all__ = ["from_kafka", "to_kafka"]

_PARTITION_KEY = "partitionkey"


def from_kafka(key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes]]) -> Event:
    """The event that a record carries.

    Raises `EventRejected`: `unsupported_media_type` when the record carries no CloudEvent, or one in a format
    that is not read here; `headers_too_large`; every refusal of `json_format` and `validate`.
    """
    attributes: list[tuple[str, bytes]] = []
    content_type: str | None = None
    for name, raw in headers:
        lowered = name.lower()
        if lowered[:3] == "ce_":
            attributes.append((lowered[3:], raw))
        elif lowered == "content-type":
            if content_type is not None:
                raise _repeated(lowered)
            content_type = _decode_value(lowered, raw).strip(" \t")
    match media.content_mode(content_type):
        case Mode.STRUCTURED:
            event = json_format.decode(value or b"")
        case Mode.BATCH:
            detail = "a Kafka record carries one event, not a batch"
            raise EventRejected("unsupported_media_type", detail, attribute="content-type")
        case Mode.BINARY:
            event = _from_binary(attributes, content_type, value)
    return event if key is None else _with_key(event, key)


def to_kafka(
    event: Event, mode: Literal["structured", "binary"]
) -> tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]:
    """Key, value and headers of a record that carries the event.

    In binary mode an event without data is a record without value: a tombstone on a compacted topic.
    """
    partition_key = event.extensions.get(_PARTITION_KEY)
    key = None if partition_key is None else _encode_value(partition_key)
    if mode == "structured":
        return key, json_format.encode(event), [("content-type", media.STRUCTURED_TYPE.encode())]
    headers = [("ce_specversion", b"1.0")]
    for name in ("id", "source", "type", "subject", "time", "dataschema"):
        attribute = event.attribute(name)
        if attribute is not None:
            headers.append((f"ce_{name}", _encode_value(attribute)))
    headers.extend((f"ce_{name}", _encode_value(extension)) for name, extension in event.extensions.items())
    content_type = event.datacontenttype or media.implied_type(event)
    if content_type is not None:
        headers.append(("content-type", content_type.encode()))
    value = None if event.data is None else media.encode_data(content_type, event.data)
    return key, value, headers


def _from_binary(
    headers: Iterable[tuple[str, bytes]], content_type: str | None, value: bytes | None
) -> Event:
    values = _decode_attributes(headers)
    take = values.pop
    version = take("specversion", None)
    if version is None:
        raise EventRejected(
            "unsupported_media_type",
            f"this is no CloudEvent: send {media.STRUCTURED_TYPE} or ce_ headers",
            attribute="content-type",
        )
    validate.check_specversion(version)
    if "datacontenttype" in values:
        raise validate.rejected("datacontenttype", "is sent as the content-type header")
    data = media.decode_data(content_type, value) if value else None
    event_id, source, event_type = take("id", None), take("source", None), take("type", None)
    subject, time, dataschema = take("subject", None), take("time", None), take("dataschema", None)
    return validate.assemble(
        event_id, source, event_type, subject, time, content_type, dataschema, data, values
    )


def _decode_attributes(headers: Iterable[tuple[str, bytes]]) -> dict[str, str]:
    values: dict[str, str] = {}
    size = 0
    for name, raw in headers:
        text = _decode_value(name, raw)
        size += len(name) + len(raw or b"") + 3
        if name in values:
            raise _repeated(name)
        values[name] = text
    if size > limits.MAX_HEADER_BYTES:
        detail = f"the ce_ headers are larger than {limits.MAX_HEADER_BYTES} bytes"
        raise EventRejected("headers_too_large", detail)
    return values


def _with_key(event: Event, key: bytes) -> Event:
    """The event with the record's key as `partitionkey`, unless it has one or the key cannot be an attribute.

    Keys belong to whoever partitions the topic (Avro, integers); they are no reason to refuse an event.
    """
    if not key or len(key) > limits.MAX_ATTRIBUTE_BYTES or _PARTITION_KEY in event.extensions:
        return event
    try:
        return validate.extended(event, _PARTITION_KEY, key.decode())
    except (UnicodeDecodeError, EventRejected):
        return event


def _decode_value(name: str, raw: bytes | None) -> str:
    """A header's text; Kafka knows headers without a value, which are empty here."""
    try:
        return (raw or b"").decode()
    except UnicodeDecodeError:
        raise EventRejected(
            "invalid_unicode", "a header is not UTF-8", attribute=validate.shown(name)
        ) from None


def _encode_value(value: ExtensionValue) -> bytes:
    if value is True or value is False:
        return b"true" if value else b"false"
    return str(value).encode()


def _repeated(name: str) -> EventRejected:
    return validate.rejected(validate.shown(name), "is sent twice")
