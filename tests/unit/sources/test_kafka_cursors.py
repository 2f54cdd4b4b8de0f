"""Which cursor is a partition's, what records in the places of an earlier topic become, and what orders them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.structs import TopicPartition

from tidemill.errors import EventRejected
from tidemill.sources.kafka.cursors import Cursor, Mark, cursor_name, mark, read_cursors, retired
from tidemill.sources.kafka.partitions import Gap, Place, place
from tidemill.sources.kafka.records import Decoder, gap_event

ONE = TopicPartition("orders", 1)


def cursors(**values: str) -> list[Cursor]:
    """Cursors of partition 1 by topic id ("none": without one)."""
    found = {
        cursor_name("s", "c", ONE, None if topic_id == "none" else topic_id): value
        for topic_id, value in values.items()
    }
    return list(read_cursors(found, "s", "c"))


def test_cursors_of_topics_whose_names_begin_alike_are_told_apart() -> None:
    found = {"kafka/s/c/orders/1": "3", "kafka/s/c/orders@A/1": "4", "kafka/s/c/orders.eu@B/1": "5"}

    read = list(read_cursors(found, "s", "c"))

    assert [(one.topic, one.topic_id, one.partition, one.offset) for one in read] == [
        ("orders", "", 1, 3),
        ("orders", "A", 1, 4),
        ("orders.eu", "B", 1, 5),
    ]
    assert mark(read, "s", "c", ONE, topic_id="A") == Mark("kafka/s/c/orders@A/1", "4", None)


@pytest.mark.parametrize(
    ("known", "topic_id", "value", "earlier", "incarnation"),
    [
        ({}, "A", None, None, ""),
        ({"A": "7"}, "A", "7", None, ""),
        ({"none": "7"}, "A", None, "7", ""),
        ({"none": "7 adopted", "A": "9"}, "A", "9", None, ""),
        ({"A": "7"}, "B", None, "7", "B"),
        ({"A": "7 recreated", "B": "0"}, "B", "0", None, "B"),
        ({"none": "7 recreated", "B": "0"}, "B", "0", None, "B"),
        ({"none": "7"}, None, "7", None, ""),
        ({"none": "7 adopted", "A": "9"}, None, "9", None, ""),
    ],
)
def test_mark_is_the_topics_own_cursor_or_what_came_before(
    known: dict[str, str], topic_id: str | None, value: str | None, earlier: str | None, incarnation: str
) -> None:
    found = mark(cursors(**known), "s", "c", ONE, topic_id=topic_id)

    assert found.value == value
    assert (found.earlier.value if found.earlier else None) == earlier
    assert found.incarnation == incarnation


def test_retired_cursor_keeps_its_offset_and_is_a_number_no_more() -> None:
    (cursor,) = cursors(A="7")

    lost, adopted = retired(cursor, is_lost=True), retired(cursor, is_lost=False)

    assert (lost, adopted) == ("7 recreated", "7 adopted")
    assert [one.offset for one in cursors(A=lost, B=adopted)] == [None, None]
    assert [one.is_of_a_lost_topic for one in cursors(A=lost, B=adopted)] == [True, False]


@pytest.mark.parametrize(
    ("cursor", "begin", "end", "expected"),
    [
        ("9", 5, 9, Place(9)),
        ("4", 5, 9, Place(5, Gap(4, 5, 9, "expired"))),
        ("12", 5, 9, Place(9, Gap(12, 9, 9, "truncated"))),
    ],
)
def test_place_in_the_same_topic_never_reads_again_what_was_read(
    cursor: str, begin: int, end: int, expected: Place
) -> None:
    assert place(cursor, begin, end, is_same_topic=True) == expected


def test_gap_event_says_what_is_missing_and_is_the_same_for_the_same_gap() -> None:
    gap = Gap(4, 9, 20, "expired")

    first = gap_event("s", "c", ONE, gap, at_us=1, topic_id="A")
    again = gap_event("s", "c", ONE, gap, at_us=2, topic_id="A")
    other = gap_event("s", "c", ONE, gap, at_us=1, topic_id="B")

    assert (first.type, first.subject) == ("dev.tidemill.source.gap.v1", "orders/1")
    assert isinstance(first.data, dict)
    assert first.data["missing"] == 5
    assert first.data["topic_id"] == "A"
    assert first.id == again.id != other.id


def record(**members: Any) -> Any:
    plain = {"topic": "orders", "partition": 1, "offset": 7, "timestamp": 1, "headers": (), "value": b"{}"}
    return SimpleNamespace(**{**plain, "key": None, **members})


def decoder(ordering: Any, *, event_type: str | None = "row") -> Decoder:
    return Decoder(origin="s", cluster="c", event_type=event_type, max_body_bytes=9999, ordering=ordering)


CLOUDEVENT = (("ce_specversion", b"1.0"), ("ce_id", b"1"), ("ce_source", b"/s"), ("ce_type", b"t"))


@pytest.mark.parametrize(
    ("ordering", "key", "headers", "expected"),
    [
        ("none", b"ann", (), None),
        ("none", b"ann", CLOUDEVENT, "ann"),
        ("key", b"ann", (), "ann"),
        ("key", b"ann", CLOUDEVENT, "ann"),
        ("key", b"ann", (*CLOUDEVENT, ("ce_partitionkey", b"bob")), "bob"),
        ("key", None, CLOUDEVENT, "orders/1"),
        ("key", b"", (), "orders/1"),
        ("key", b"\xff", (), "blake2b:"),
        ("partition", b"ann", (), "orders/1"),
        ("partition", b"ann", CLOUDEVENT, "orders/1"),
    ],
)
def test_ordering_says_what_partitionkey_is(
    ordering: str, key: bytes | None, headers: Any, expected: str | None
) -> None:
    event = decoder(ordering).decode(record(key=key, headers=headers))

    stamped = event.extensions.get("partitionkey")
    if expected is not None and expected.startswith("blake2b:"):
        again = decoder(ordering).decode(record(key=key, offset=8)).extensions["partitionkey"]
        other = decoder(ordering).decode(record(key=b"\xfe")).extensions["partitionkey"]
        assert str(stamped).startswith("blake2b:")
        assert stamped == again != other
    else:
        assert stamped == expected


def test_record_in_the_place_of_another_one_has_an_identity_of_its_own() -> None:
    plain, carried = record(), record(headers=CLOUDEVENT)

    assert decoder("none").decode(plain, "Id1").id == "orders/1/7/Id1"
    assert decoder("none").decode(carried, "Id1").id == "1"


def test_dead_letter_says_the_topic_its_record_would_be_told_apart_by() -> None:
    bad = record(value=b"{")
    with pytest.raises(EventRejected) as caught:
        decoder("none").decode(bad, "Id1")

    letter = decoder("none").dead_letter(bad, caught.value, letter_id="1", at=1, incarnation="Id1")

    assert letter.coordinates["incarnation"] == "Id1"
