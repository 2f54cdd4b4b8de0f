"""The JSON event format of CloudEvents 1.0.2 and its batches: bytes or parsed JSON to `Event` and back.

Strict at the door: what is not an event by the rules of `validate` is refused, with its place in a batch.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterable

from tidemill.errors import EventRejected
from tidemill.events import json_text, validate
from tidemill.events.event import JSON, Event

__all__ = ["decode", "decode_batch", "encode", "encode_batch", "from_json", "to_json"]


def decode(body: bytes) -> Event:
    """The event that `body` holds (media type `application/cloudevents+json`), or `EventRejected`."""
    return from_json(json_text.parse(body, envelope=1))


def decode_batch(body: bytes, *, max_events: int) -> list[Event]:
    """The events of a batch (media type `application/cloudevents-batch+json`), in order; it may be empty.

    Raises `EventRejected`, with `index` set when one event is to blame; `batch_too_large` above `max_events`.
    """
    items = json_text.parse(body, envelope=2)
    if type(items) is not list:
        raise EventRejected("invalid_cloudevent", "a batch is a JSON array of events")
    if len(items) > max_events:
        raise EventRejected(
            "batch_too_large", f"the batch has {len(items)} events, more than {max_events}; send it in parts"
        )
    events: list[Event] = []
    for index, item in enumerate(items):
        try:
            events.append(from_json(item))
        except EventRejected as refusal:
            raise refusal.at(index) from None
    return events


def from_json(members: JSON) -> Event:
    """The event that a parsed JSON object describes, or `EventRejected`; `members` is left as it is."""
    if type(members) is not dict:
        raise EventRejected("invalid_cloudevent", "an event is a JSON object")
    extensions = members.copy()
    take = extensions.pop
    version = take("specversion", None)
    if version != "1.0":
        validate.check_specversion(version)
    datacontenttype = take("datacontenttype", None)
    data = take("data", None)
    if "data_base64" in extensions:
        data = _decode_base64(take("data_base64"), data)
    event_id, source, event_type = take("id", None), take("source", None), take("type", None)
    subject, time, dataschema = take("subject", None), take("time", None), take("dataschema", None)
    if None in extensions.values():
        extensions = {name: value for name, value in extensions.items() if value is not None}
    return validate.assemble(
        event_id, source, event_type, subject, time, datacontenttype, dataschema, data, extensions
    )


def encode(event: Event) -> bytes:
    """The event in the JSON event format."""
    return json_text.dump(to_json(event))


def encode_batch(events: Iterable[Event]) -> bytes:
    """The events as one JSON batch."""
    return json_text.dump([to_json(event) for event in events])


def to_json(event: Event) -> dict[str, JSON]:
    """The event as a JSON object; absent attributes are left out, bytes become `data_base64`."""
    members: dict[str, JSON] = {
        "specversion": "1.0",
        "id": event.id,
        "source": event.source,
        "type": event.type,
    }
    if event.subject is not None:
        members["subject"] = event.subject
    if event.time is not None:
        members["time"] = event.time
    if event.datacontenttype is not None:
        members["datacontenttype"] = event.datacontenttype
    if event.dataschema is not None:
        members["dataschema"] = event.dataschema
    if event.extensions:
        members.update(event.extensions)
    data = event.data
    if type(data) is bytes:
        members["data_base64"] = binascii.b2a_base64(data, newline=False).decode("ascii")
    elif data is not None:
        members["data"] = data
    return members


def _decode_base64(text: JSON, data: JSON) -> JSON:
    """The data of an event that has a member `data_base64` beside `data` (JSON format, section 3.1)."""
    if text is None:
        return data
    if data is not None:
        raise validate.rejected("data_base64", "stands beside data; send one of them")
    if type(text) is not str:
        raise validate.rejected("data_base64", "is not a string")
    try:
        return binascii.a2b_base64(text, strict_mode=True) if text else b""
    except ValueError:
        raise validate.rejected("data_base64", "is not base64 (RFC 4648, section 4)") from None
