"""What the Kafka source does with records it cannot take, and with offsets that are gone."""

from __future__ import annotations

import base64
import logging
from typing import Any

import orjson
import pytest

from tidemill.sources.contract import SourceState

pytestmark = pytest.mark.kafka

BINARY = [
    ("ce_specversion", b"1.0"),
    ("ce_id", b"1"),
    ("ce_source", b"/shop"),
    ("ce_type", b"com.example.order.placed"),
    ("content-type", b"application/json"),
]
STRUCTURED = [("content-type", b"application/cloudevents+json")]


async def test_bad_records_become_dead_letters_and_the_partition_moves_on(
    cluster: Any, make_source: Any, run: Any, log: Any, order: Any, caplog: Any
) -> None:
    topic = await cluster.create_topic(1)
    reserved = [
        (name, b"dev.tidemill.run.succeeded.v1" if name == "ce_type" else value) for name, value in BINARY
    ]
    bad = [
        ("invalid_json", BINARY, b'{"order": '),
        ("invalid_unicode", BINARY, b'{"order": "\xff"}'),
        ("duplicate_key", BINARY, b'{"order": 1, "order": 2}'),
        ("invalid_cloudevent", BINARY[:1] + BINARY[2:], b"{}"),
        ("unsupported_specversion", [("ce_specversion", b"0.3"), *BINARY[1:]], b"{}"),
        ("unsupported_media_type", [], b'{"order": 1}'),
        ("invalid_json", STRUCTURED, b"\x00\x01\x02"),
        ("reserved_type", reserved, b"{}"),
        ("payload_too_large", BINARY, b'"' + b"x" * 2000 + b'"'),
    ]
    records = [order(0)]
    for number, (_, headers, value) in enumerate(bad):
        records += [(0, b"k\xff%d" % number, value, headers), order(number + 1)]
    await cluster.produce(topic, records)

    with caplog.at_level(logging.WARNING, logger="tidemill"):
        async with run(make_source(topic, max_body_bytes=1000)) as stage:
            await log.wait_for_count(len(bad) + 1)
        again = make_source(topic, max_body_bytes=1000)
        await cluster.produce(topic, [order(99)])
        async with run(again):
            await log.wait_for_count(len(bad) + 2)

    letters = await log.letters()
    assert [letter.code for letter in letters] == [code for code, _, _ in bad]
    for number, (letter, (_, headers, value)) in enumerate(zip(letters, bad, strict=True)):
        assert (letter.stage, letter.origin, letter.body) == ("kafka", "orders", value)
        place = letter.coordinates
        assert (place["topic"], place["partition"], place["offset"]) == (topic, 0, 2 * number + 1)
        assert base64.b64decode(place["key"]) == b"k\xff%d" % number
        assert [(name, base64.b64decode(text)) for name, text in place["headers"]] == headers
        assert place["timestamp"] > 0
    assert [event.data["order"] for event in await log.events()] == [*range(len(bad) + 1), 99]
    assert stage.status().refused == len(bad)
    assert again.status().refused == 0
    told = [record for record in caplog.records if record.name.startswith("tidemill")]
    assert {record.message for record in told} == {"source.refused"}
    assert told[0].coordinates == {"topic": topic, "partition": 0, "offset": 1}


async def test_plain_records_are_wrapped_when_the_source_gives_them_a_type(
    cluster: Any, make_source: Any, run: Any, log: Any
) -> None:
    topic = await cluster.create_topic(1)
    await cluster.produce(
        topic,
        [
            (0, b"customer-1", b'{"order": 1}', [("trace", b"\xff")]),
            (0, b"\xff\xfe", b"[1]", [("content-type", b"application/json")]),
            (0, b"customer-2", None, []),
            (0, None, b"not json", []),
            (
                0,
                None,
                orjson.dumps({"specversion": "1.0", "id": "x", "source": "/s", "type": "t"}),
                STRUCTURED,
            ),
        ],
    )

    async with run(make_source(topic, event_type="com.example.row.v1")):
        await log.wait_for_count(4)

    first, second, third, fourth = await log.events()
    assert first.id == f"{topic}/0/0"
    assert first.source.startswith("/kafka/")
    assert first.source.endswith(f"/{topic}")
    assert (first.type, first.subject, first.data) == ("com.example.row.v1", "customer-1", {"order": 1})
    assert first.time is not None
    assert (second.subject, second.data) == (None, [1])
    assert (third.subject, third.data) == ("customer-2", None)
    assert (fourth.id, fourth.type) == ("x", "t")
    assert [letter.code for letter in await log.letters()] == ["invalid_json"]


async def test_reused_identity_with_other_content_becomes_a_dead_letter(
    cluster: Any, make_source: Any, run: Any, log: Any, wait_until: Any
) -> None:
    topic = await cluster.create_topic(1)
    await cluster.produce(topic, [(0, None, body, BINARY) for body in (b"1", b"1", b"2")])

    async with run(make_source(topic)) as stage:
        await wait_until(lambda: stage.status().refused == 1)

    status = stage.status()
    assert (status.accepted, status.duplicates, status.refused) == (1, 1, 1)
    assert [letter.code for letter in await log.letters()] == ["id_reused"]


async def test_expired_offsets_are_told_by_a_gap_event(
    cluster: Any, make_source: Any, run: Any, log: Any, order: Any
) -> None:
    topic = await cluster.create_topic(1)
    await cluster.produce(topic, [order(n) for n in range(10)])
    async with run(make_source(topic)):
        await log.wait_for_count(10)
    await cluster.produce(topic, [order(n) for n in range(10, 30)])
    await cluster.delete_records(topic, 0, before=20)

    async with run(make_source(topic)):
        await log.wait_for_count(21)
    async with run(make_source(topic)):  # told once
        await cluster.produce(topic, [order(30)])
        await log.wait_for_count(22)

    (gap,) = await log.of_type("dev.tidemill.source.gap.v1")
    assert (gap.source, gap.subject) == ("/tidemill/sources/orders", f"{topic}/0")
    told = {name: gap.data[name] for name in ("reason", "expected_offset", "resumed_at_offset", "end_offset")}
    assert told == {"reason": "expired", "expected_offset": 10, "resumed_at_offset": 20, "end_offset": 30}
    orders = [
        event.data["order"] for event in await log.events() if event is not gap and "order" in event.data
    ]
    assert orders == [*range(10), *range(20, 31)]


async def test_offsets_that_expire_while_reading_are_told_by_a_gap_event(
    cluster: Any, make_source: Any, run: Any, log: Any, order: Any, store: Any, wait_until: Any
) -> None:
    topic = await cluster.create_topic(1)
    full = FullLog(store.log)
    await cluster.produce(topic, [order(0)])

    async with run(make_source(topic, log=full)) as stage:
        await log.wait_for_count(1)
        full.seconds = 1
        await wait_until(lambda: stage.status().state is SourceState.DEGRADED)
        await cluster.produce(topic, [order(n) for n in range(1, 30)])
        await cluster.delete_records(topic, 0, before=20)
        full.seconds = None
        await log.wait_for_count(12)

    (gap,) = await log.of_type("dev.tidemill.source.gap.v1")
    assert (gap.data["expected_offset"], gap.data["resumed_at_offset"]) == (1, 20)
    orders = [event.data["order"] for event in await log.events() if "order" in event.data]
    assert orders == [0, *range(20, 30)]


async def test_recreated_topic_is_told_by_a_gap_event_and_read_from_its_beginning(
    cluster: Any, make_source: Any, run: Any, log: Any, order: Any
) -> None:
    topic = await cluster.create_topic(1)
    await cluster.produce(topic, [order(n) for n in range(10)])
    async with run(make_source(topic)):
        await log.wait_for_count(10)
    await cluster.delete_topic(topic)
    await cluster.create_topic(1, name=topic)
    await cluster.produce(topic, [order(n) for n in range(100, 103)])

    async with run(make_source(topic)):
        await log.wait_for_count(14)

    (gap,) = await log.of_type("dev.tidemill.source.gap.v1")
    told = {name: gap.data[name] for name in ("reason", "expected_offset", "resumed_at_offset", "end_offset")}
    assert told == {"reason": "recreated", "expected_offset": 10, "resumed_at_offset": 0, "end_offset": 3}
    orders = [event.data["order"] for event in await log.events() if "order" in event.data]
    assert orders == [*range(10), 100, 101, 102]


class FullLog:
    """An event log whose backlog is full while a test says so."""

    def __init__(self, log: Any) -> None:
        self._log = log
        self.seconds: int | None = None

    def overload(self) -> int | None:
        return self.seconds

    async def append(self, job: Any) -> Any:
        return await self._log.append(job)


async def test_full_backlog_pauses_the_partitions_until_there_is_room(
    cluster: Any, make_source: Any, run: Any, log: Any, order: Any, store: Any, wait_until: Any
) -> None:
    topic = await cluster.create_topic(2)
    full = FullLog(store.log)
    await cluster.produce(topic, [order(n, partition=n % 2) for n in range(10)])

    async with run(make_source(topic, log=full)) as stage:
        await log.wait_for_count(10)
        full.seconds = 1
        await wait_until(lambda: stage.status().state is SourceState.DEGRADED)
        paused = stage.status()
        await cluster.produce(topic, [order(n, partition=n % 2) for n in range(10, 500)])
        async with cluster.consumer(topic) as outsider:  # by now the records can be had
            await outsider.getone()
        held = store.log.head
        full.seconds = None
        await log.wait_for_count(500)
        await wait_until(lambda: stage.status().state is SourceState.LIVE)

    assert paused.error == "the backlog is full; partitions are paused"
    assert held == 10
    events = await log.events()
    assert sorted(event.data["order"] for event in events) == list(range(500))


async def test_missing_topic_is_told_and_does_not_stop_the_others(
    cluster: Any, make_source: Any, run: Any, log: Any, order: Any, wait_until: Any
) -> None:
    topic = await cluster.create_topic(1)
    await cluster.produce(topic, [order(1)])

    async with run(make_source(topic, topics=(topic, f"{topic}-missing"))) as stage:
        await log.wait_for_count(1)
        await wait_until(lambda: stage.status().state is SourceState.DEGRADED)
        status = stage.status()

    assert status.error == f"no such topic: {topic}-missing"
