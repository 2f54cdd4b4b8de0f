"""Events in the log: their identity as a key, their content as a digest, and the form they are stored in.

The digest tells a repeated event from another one that reuses its identity, so it covers what the producer
said and nothing of how it travelled: not the content mode, not the trace. Nothing here validates.
"""

from __future__ import annotations

import binascii
from hashlib import blake2b

import orjson

from tidemill.events import json_format, media
from tidemill.events.event import JSON, Event, ExtensionValue

__all__ = ["body_digest", "content_digest", "decode_from_log", "encode_for_log", "identity_key"]

_SIZE = 16
#: Each attempt to send an event may belong to another trace.
_TRACE = frozenset({"traceparent", "tracestate"})


def identity_key(source: str, event_id: str) -> bytes:
    """16 bytes that stand for the identity (`source`, `id`) of an event."""
    return blake2b(f"{source}\0{event_id}".encode(), digest_size=_SIZE).digest()


def content_digest(event: Event) -> bytes:
    """16 bytes that stand for everything an event says but its identity and its trace.

    The same for the same event in every content mode: object members in any order, extension values as text,
    a media type that binary mode had to name (`media.implied_type`) as if it had been named, data that is not
    JSON as bytes.
    """
    data = event.data
    content_type = event.datacontenttype or media.implied_type(event)
    raw: bytes | None = None
    if type(data) is bytes:
        raw = data
    elif data is not None and content_type != media.JSON_TYPE and not media.is_json(content_type):
        raw = media.encode_data(content_type, data)
    extensions = _as_text(event) if event.extensions else None
    head: list[JSON] = [event.type, event.subject, event.time, content_type, event.dataschema, extensions]
    if raw:
        return _digest(orjson.dumps(head, option=orjson.OPT_SORT_KEYS) + raw)
    if raw is None and data is not None:
        head.append([data])
    return _digest(orjson.dumps(head, option=orjson.OPT_SORT_KEYS))


def body_digest(stored: bytes) -> bytes:
    """16 bytes that stand for the stored form of an event that is never told apart from another one."""
    return _digest(stored)


def encode_for_log(event: Event) -> bytes:
    """The stored form of an event: the JSON event format."""
    return json_format.encode(event)


def decode_from_log(stored: bytes) -> Event:
    """The event that `encode_for_log` wrote; it was valid then and is not checked again."""
    extensions: dict[str, JSON] = orjson.loads(stored)
    take = extensions.pop
    del extensions["specversion"]
    data = take("data", None)
    if "data_base64" in extensions:
        data = binascii.a2b_base64(take("data_base64"))
    return Event(
        id=take("id"),
        source=take("source"),
        type=take("type"),
        subject=take("subject", None),
        time=take("time", None),
        datacontenttype=take("datacontenttype", None),
        dataschema=take("dataschema", None),
        data=data,
        extensions=extensions,
    )


def _digest(text: bytes) -> bytes:
    return blake2b(text, digest_size=_SIZE).digest()


def _as_text(event: Event) -> dict[str, str] | None:
    return {name: _text(value) for name, value in event.extensions.items() if name not in _TRACE} or None


def _text(value: ExtensionValue) -> str:
    if value is True or value is False:
        return "true" if value else "false"
    return str(value)
