"""What the log knows an event by: the same for a repeated event, another for any other event."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from tidemill.events import digest, http, json_format, kafka
from tidemill.events.event import Event

EVENT = Event(
    id="1",
    source="/s",
    type="t",
    subject="sub",
    time="2026-01-01T00:00:00Z",
    datacontenttype="application/json",
    dataschema="urn:x",
    data={"a": 1, "b": {"c": 2, "d": [1, 2]}},
    extensions={"x": "1", "y": True},
)


def changed(**attributes: Any) -> Event:
    return dataclasses.replace(EVENT, **attributes)


@pytest.mark.parametrize(
    "same",
    [
        changed(id="2"),
        changed(source="/other"),
        changed(data={"b": {"d": [1, 2], "c": 2}, "a": 1}),
        changed(extensions={"y": True, "x": "1"}),
        changed(extensions={"x": 1, "y": "true"}),
        changed(extensions={"x": "1", "y": True, "traceparent": "00-1", "tracestate": "a=b"}),
    ],
)
def test_content_digest_ignores_identity_order_and_trace(same: Event) -> None:
    assert digest.content_digest(same) == digest.content_digest(EVENT)


@pytest.mark.parametrize(
    "other",
    [
        changed(type="u"),
        changed(subject=None),
        changed(time="2026-01-01T00:00:01Z"),
        changed(datacontenttype="application/x+json"),
        changed(dataschema=None),
        changed(data=None),
        changed(data={}),
        changed(data={"a": 1, "b": {"c": 2, "d": [2, 1]}}),
        changed(data={"a": 1.0, "b": {"c": 2, "d": [1, 2]}}),
        changed(extensions={"x": "1"}),
        changed(extensions={"x": "2", "y": True}),
        changed(extensions={"x": "1", "y": "True"}),
        changed(subject="urn:x", dataschema="sub"),
    ],
)
def test_content_digest_tells_other_content(other: Event) -> None:
    assert digest.content_digest(other) != digest.content_digest(EVENT)


def test_content_digest_tells_kinds_of_data_apart() -> None:
    kinds: list[tuple[str | None, Any]] = [
        ("application/json", None),
        ("application/json", True),
        ("application/json", "x"),
        ("application/json", b"x"),
        ("application/json", []),
        ("application/json", [None]),
        ("application/json", "null"),
        ("text/plain", "x"),
        ("text/plain", "y"),
        (None, None),
        (None, b"x"),
    ]

    digests = {digest.content_digest(changed(datacontenttype=kind, data=data)) for kind, data in kinds}

    assert len(digests) == len(kinds)


@pytest.mark.parametrize(
    ("content_type", "data"),
    [
        (None, {"a": 1}),
        (None, "text"),
        (None, b"\x00\xff"),
        ("application/json", {"b": 1, "a": None}),
        ("application/xml", "<a/>"),
        ("text/plain; charset=iso-8859-1", "\u00e9"),
        ("text/plain", ""),
        ("application/json", None),
        (None, None),
    ],
)
def test_content_digest_is_the_same_in_every_content_mode(content_type: str | None, data: Any) -> None:
    event = changed(datacontenttype=content_type, data=data, extensions={"n": 3, "yes": False})

    headers, body = http.to_http_binary(event)
    pairs = [(name.encode(), value.encode()) for name, value in headers]
    (over_http,) = http.from_http(pairs, body, max_events=1)[0]
    over_kafka = kafka.from_kafka(*kafka.to_kafka(event, "binary"))
    as_json = json_format.decode(json_format.encode(event))

    assert {digest.content_digest(read) for read in (event, over_http, over_kafka, as_json)} == {
        digest.content_digest(event)
    }


def test_identity_key_separates_source_and_id() -> None:
    keys = {
        digest.identity_key(source, event_id)
        for source, event_id in [("/a", "b"), ("/ab", ""), ("/a", "c"), ("/b", "a")]
    }

    assert len(keys) == 4
    assert {len(key) for key in keys} == {16}
    assert digest.identity_key("/a", "b") in keys


def test_digests_do_not_change_from_release_to_release() -> None:
    assert digest.content_digest(EVENT).hex() == "b6b9b120dc5390819efc9e40ec64fe40"
    assert digest.identity_key("/s", "1").hex() == "3c846c8524950a13aa8d2415b83caeed"
