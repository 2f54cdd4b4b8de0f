"""Records become events or refusals, and places become cursors: the pure parts of the Kafka source."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiokafka.structs import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from tidemill.errors import REJECTION_STATUS, EventRejected
from tidemill.events.event import Event
from tidemill.sources.kafka.partitions import Gap, Lane, Partitions, Place, place
from tidemill.sources.kafka.records import Decoder

ONE = TopicPartition("orders", 0)
OTHER = TopicPartition("orders", 1)


@dataclass
class Record:
    value: bytes | None = b"{}"
    key: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()
    topic: str = "orders"
    partition: int = 3
    offset: int = 17
    timestamp: int = 1_714_564_800_000
    extra: dict[str, Any] = field(default_factory=dict)


def decoder(**members: Any) -> Decoder:
    return Decoder(
        **{"origin": "orders", "cluster": "c1", "event_type": None, "max_body_bytes": 100, **members}
    )


@pytest.mark.parametrize(("size", "refused"), [(99, False), (100, False), (101, True)])
def test_value_is_refused_above_the_limit_only(size: int, refused: bool) -> None:
    record = Record(b'"' + b"x" * (size - 2) + b'"')
    wrapping = decoder(event_type="row")

    if refused:
        with pytest.raises(EventRejected) as caught:
            wrapping.decode(record)
        assert caught.value.code == "payload_too_large"
    else:
        assert len(wrapping.decode(record).data) == size - 2


def test_plain_record_is_wrapped_with_its_place_as_identity() -> None:
    event = decoder(event_type="row").decode(Record(b'{"a":1}', key=b"k1"))

    assert event == Event(
        id="orders/3/17",
        source="/kafka/c1/orders",
        type="row",
        subject="k1",
        time="2024-05-01T12:00:00.000000Z",
        datacontenttype="application/json",
        data={"a": 1},
    )


@pytest.mark.parametrize(
    "key", [None, b"", b"\xff", b"a\nb", b"x" * 8193], ids=["none", "empty", "bytes", "control", "long"]
)
def test_key_that_cannot_be_a_subject_refuses_nothing(key: bytes | None) -> None:
    assert decoder(event_type="row").decode(Record(key=key)).subject is None


@pytest.mark.parametrize("timestamp", [-1, 2**62])
def test_record_without_a_usable_timestamp_has_no_time(timestamp: int) -> None:
    assert decoder(event_type="row").decode(Record(timestamp=timestamp)).time is None


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ((("ce_id", b"1"),), "unsupported_media_type"),
        ((("content-type", b"application/cloudevents+avro"),), "unsupported_media_type"),
        ((("Content-Type", b" Application/CloudEvents-Batch+json"),), "unsupported_media_type"),
        ((("content-type", b"application/cloudevents+json"),), "invalid_cloudevent"),
    ],
)
def test_record_that_claims_to_be_a_cloudevent_is_never_wrapped(
    headers: tuple[tuple[str, bytes], ...], code: str
) -> None:
    with pytest.raises(EventRejected) as caught:
        decoder(event_type="row").decode(Record(headers=headers))

    assert caught.value.code == code


headers = st.lists(
    st.tuples(
        st.sampled_from(["ce_specversion", "ce_id", "ce_source", "ce_type", "ce_time", "content-type", "x"]),
        st.sampled_from([b"1.0", b"application/json", b"application/cloudevents+json"])
        | st.binary(max_size=20),
    ),
    max_size=7,
)


@given(
    value=st.none() | st.binary(max_size=120) | st.sampled_from([b"{}", b"[[", b'{"a":1e999}']),
    key=st.none() | st.binary(max_size=10),
    headers=headers,
    event_type=st.none() | st.just("row"),
)
def test_any_record_is_an_event_or_a_dead_letter_that_brings_it_back(
    value: bytes | None, key: bytes | None, headers: list[tuple[str, bytes]], event_type: str | None
) -> None:
    decoding = decoder(event_type=event_type)
    record = Record(value, key, tuple(headers))

    try:
        event = decoding.decode(record)
    except EventRejected as error:
        letter = decoding.dead_letter(record, error, letter_id="1", at=5)
        assert letter.code in REJECTION_STATUS
        assert letter.body == (value or b"")
        given_key = letter.coordinates["key"]
        assert (None if given_key is None else base64.b64decode(given_key)) == key
        assert [(name, base64.b64decode(text)) for name, text in letter.coordinates["headers"]] == headers
    else:
        assert event.id
        assert event.source
        assert event.type


@pytest.mark.parametrize(
    ("cursor", "begin", "end", "expected"),
    [
        (None, 5, 9, Place(5)),
        ("5", 5, 9, Place(5)),
        ("9", 5, 9, Place(9)),
        ("4", 5, 9, Place(5, Gap(4, 5, 9, "expired"))),
        ("10", 5, 9, Place(5, Gap(10, 5, 9, "recreated"))),
        ("0", 0, 0, Place(0)),
        ("3", 0, 0, Place(0, Gap(3, 0, 0, "recreated"))),
    ],
)
def test_place_reads_on_at_the_cursor_or_tells_the_gap(
    cursor: str | None, begin: int, end: int, expected: Place
) -> None:
    assert place(cursor, begin, end) == expected


def test_partition_delivers_only_between_being_opened_and_being_lost() -> None:
    partitions = Partitions()
    lane = Lane("kafka/orders/c1/orders/0", None, 0)

    partitions.assign([ONE, OTHER])
    before = dict(partitions.ready)
    partitions.open(ONE, lane)
    opened = partitions.holds(ONE, lane)
    partitions.revoke([ONE])

    assert before == {}
    assert opened
    assert not partitions.holds(ONE, lane)
    assert partitions.pending == {OTHER}


def test_late_failure_of_an_earlier_lane_leaves_the_present_one_alone() -> None:
    partitions = Partitions()
    partitions.assign([ONE])
    earlier, present = Lane("name", None, 0), Lane("name", "5", 5)
    partitions.open(ONE, earlier)
    partitions.reopen(ONE, earlier)
    partitions.open(ONE, present)

    partitions.reopen(ONE, earlier)
    held = partitions.holds(ONE, present)
    partitions.reopen(ONE)

    assert held
    assert partitions.pending == {ONE}
