"""One Kafka record becomes an event, or a dead letter with its bytes and coordinates. Pure: no I/O, no clock.

Decoding costs more than fetching, so a record is looked at once: the binding decides what it is.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any, Literal, Protocol, assert_never

from aiokafka.structs import TopicPartition

from tidemill.clock import rfc3339
from tidemill.errors import EventRejected
from tidemill.events import json_text, lifecycle, limits, media, validate
from tidemill.events import kafka as binding
from tidemill.events.event import Event
from tidemill.sources.kafka.partitions import Gap
from tidemill.storage.contract import DeadLetter

__all__ = ["Decoder", "KafkaRecord", "gap_event"]

_PARTITION_KEY = "partitionkey"
_YEAR_10000_MS = 253_402_300_800_000


class KafkaRecord(Protocol):
    """What we use of aiokafka's `ConsumerRecord`."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoder:
    """Turns the records of one source on one cluster into events."""

    #: Name of the source.
    origin: str
    cluster: str
    #: Type given to records that are no CloudEvents; None refuses them.
    event_type: str | None
    max_body_bytes: int
    #: See `KafkaSource`.
    ordering: Literal["none", "partition", "key"] = "none"

    def decode(self, record: KafkaRecord, incarnation: str = "") -> Event:
        """The event that a record carries, or is wrapped in; raises `EventRejected`.

        `incarnation` is part of the identity of a record that has none of its own, where an earlier topic of the same
        name had records in the same places.
        """
        event = self._decode(record, incarnation)
        match self.ordering:
            case "none":
                return event
            case "partition":
                return _with_partition_key(event, f"{record.topic}/{record.partition}")
            case "key":
                if _PARTITION_KEY in event.extensions:
                    return event
                return _with_partition_key(event, _ordering_key(record))
            case _:
                assert_never(self.ordering)

    def _decode(self, record: KafkaRecord, incarnation: str) -> Event:
        value = record.value
        if value is not None and len(value) > self.max_body_bytes:
            raise EventRejected(
                "payload_too_large", f"the value has {len(value)} bytes, more than {self.max_body_bytes}"
            )
        if self.event_type is not None and _is_plain(record.headers):
            return self._wrap(record, self.event_type, incarnation)
        event = binding.from_kafka(record.key, value, record.headers)
        validate.refuse_reserved(event)
        return event

    def dead_letter(
        self, record: KafkaRecord, error: EventRejected, *, letter_id: str, at: int, incarnation: str = ""
    ) -> DeadLetter:
        """The refused record with all that is needed to produce it again."""
        return DeadLetter(
            id=letter_id,
            at=at,
            stage="kafka",
            code=error.code,
            detail=error.detail,
            origin=self.origin,
            coordinates={
                **self._coordinates(record),
                **({"incarnation": incarnation} if incarnation else {}),
            },
            body=record.value or b"",
        )

    def _wrap(self, record: KafkaRecord, event_type: str, incarnation: str) -> Event:
        """A record that is no CloudEvent: its place is its identity, its key what it is about."""
        has_time = 0 <= record.timestamp < _YEAR_10000_MS
        place = f"{record.topic}/{record.partition}/{record.offset}"
        return validate.assemble(
            f"{place}/{incarnation}" if incarnation else place,
            f"/kafka/{self.cluster}/{record.topic}",
            event_type,
            _text(record.key),
            rfc3339(record.timestamp * 1000) if has_time else None,
            media.JSON_TYPE,
            None,
            None if record.value is None else json_text.parse(record.value),
            {},
        )

    def _coordinates(self, record: KafkaRecord) -> dict[str, Any]:
        return {
            "cluster": self.cluster,
            "topic": record.topic,
            "partition": record.partition,
            "offset": record.offset,
            "timestamp": record.timestamp,
            "key": _base64(record.key),
            "headers": [[name, _base64(value)] for name, value in record.headers],
        }


def gap_event(
    source: str, cluster: str, partition: TopicPartition, gap: Gap, *, at_us: int, topic_id: str | None
) -> Event:
    """The event that records a gap, appended with the cursor that steps over it."""
    place = f"{partition.topic}/{partition.partition}"
    facts: dict[str, Any] = {
        "cluster": cluster,
        "topic": partition.topic,
        "topic_id": topic_id,
        "partition": partition.partition,
        "expected_offset": gap.expected,
        "resumed_at_offset": gap.resumed_at,
        "end_offset": gap.end,
    }
    if gap.reason == "expired" and gap.resumed_at is not None:
        facts["missing"] = gap.resumed_at - gap.expected
    event = lifecycle.source_gap(
        name=source,
        kind="kafka",
        # Cursors of one topic go forward, so that no second gap is there.
        place=f"{cluster}/{place}/{gap.expected}-{gap.resumed_at}@{topic_id or at_us}",
        reason=gap.reason,
        at_us=at_us,
        **facts,
    )
    return replace(event, subject=place)


def _is_plain(headers: Sequence[tuple[str, bytes]]) -> bool:
    """True when nothing in the headers says CloudEvents: then the binding does not apply."""
    for name, value in headers:
        lowered = name.lower()
        if lowered.startswith("ce_"):
            return False
        if (
            lowered == "content-type"
            and value
            and value.lstrip().lower().startswith(b"application/cloudevents")
        ):
            return False
    return True


def _text(key: bytes | None) -> str | None:
    """The key as a subject, where it is text that an attribute may hold; refuses nothing."""
    if not key or len(key) > limits.MAX_ATTRIBUTE_BYTES:
        return None
    try:
        text = key.decode()
    except UnicodeDecodeError:
        return None
    return text if text.isprintable() else None


def _base64(value: bytes | None) -> str | None:
    return None if value is None else base64.b64encode(value).decode("ascii")


def _with_partition_key(event: Event, key: str) -> Event:
    return validate.extended(event, _PARTITION_KEY, key)


def _ordering_key(record: KafkaRecord) -> str:
    """The record's key as text that an attribute may hold: the same for the same key, another for another.

    Records without a key have the order of their partition and no other.
    """
    key = record.key
    if not key:
        return f"{record.topic}/{record.partition}"
    text = _text(key)
    return text if text is not None else f"blake2b:{blake2b(key, digest_size=16).hexdigest()}"
