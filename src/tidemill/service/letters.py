"""Bytes that a source could not take, read again as that source reads them today."""

from __future__ import annotations

import base64
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from tidemill.errors import EventRejected
from tidemill.events import json_format, validate
from tidemill.events.event import Event
from tidemill.project.model import KafkaSource, Project
from tidemill.settings import Settings
from tidemill.storage.contract import DeadLetter

__all__ = ["decode_letter"]


def decode_letter(letter: DeadLetter, *, project: Callable[[], Project], settings: Settings) -> Event:
    """The event that the letter's bytes, as they came, are for its source; raises `EventRejected`.

    Records of Kafka are read with their key and headers by the source's rules of today; everything else is an event in
    the JSON format.
    """
    if letter.stage == "kafka" and "topic" in letter.coordinates:
        spec = next((one for one in project().sources if one.name == letter.origin), None)
        return _decode_record(letter, spec if isinstance(spec, KafkaSource) else None, settings)
    if len(letter.body) > settings.max_body_bytes:
        raise EventRejected("payload_too_large", f"more than {settings.max_body_bytes} bytes")
    try:
        event = json_format.decode(letter.body)
    except EventRejected:
        if letter.stage != "files":
            raise
        detail = "the letter holds a file's name and no event; edit it, or write the file again"
        raise EventRejected("invalid_cloudevent", detail) from None
    if letter.stage != "schedule":
        validate.refuse_reserved(event)
    return event


def _decode_record(letter: DeadLetter, spec: KafkaSource | None, settings: Settings) -> Event:
    from tidemill.sources.kafka.records import Decoder  # imports the client of Kafka

    place = letter.coordinates
    record: Any = SimpleNamespace(
        topic=place["topic"],
        partition=place["partition"],
        offset=place["offset"],
        timestamp=place.get("timestamp", -1),
        key=_bytes(place.get("key")),
        value=letter.body,
        headers=[(name, _bytes(value) or b"") for name, value in place.get("headers", ())],
    )
    decoder = Decoder(
        origin=letter.origin,
        cluster=str(place.get("cluster", "")),
        event_type=None if spec is None else spec.event_type,
        max_body_bytes=settings.max_body_bytes,
        ordering="none" if spec is None else spec.ordering,
    )
    return decoder.decode(record, str(place.get("incarnation", "")))


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text)
