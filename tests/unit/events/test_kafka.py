"""The Kafka protocol binding: two modes by content type, headers as they are, keys, and the way out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tidemill.errors import EventRejected
from tidemill.events import kafka
from tidemill.events.event import Event

MINIMAL = {"ce_specversion": "1.0", "ce_id": "1", "ce_source": "/s", "ce_type": "t"}
STRUCTURED = {"content-type": "application/cloudevents+json; charset=UTF-8"}
BODY = json.dumps({"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}).encode()


def read(headers: dict[str, Any], value: bytes | None = None, key: bytes | None = None) -> Event:
    pairs = [(name, text.encode() if isinstance(text, str) else text) for name, text in headers.items()]
    return kafka.from_kafka(key, value, pairs)


def refusal(headers: dict[str, Any], value: bytes | None = None) -> EventRejected:
    with pytest.raises(EventRejected) as caught:
        read(headers, value)
    return caught.value


def test_binary_mode_reads_headers_and_value() -> None:
    event = read(
        {
            **MINIMAL,
            "ce_subject": "\u00e9 100% \u20ac",
            "ce_time": "2018-04-05T03:56:24Z",
            "ce_myext": "v",
            "content-type": "application/json",
            "other": b"\xff",
        },
        b'{"a": 1}',
    )

    assert event == Event(
        id="1",
        source="/s",
        type="t",
        subject="\u00e9 100% \u20ac",
        time="2018-04-05T03:56:24Z",
        datacontenttype="application/json",
        data={"a": 1},
        extensions={"myext": "v"},
    )


@pytest.mark.parametrize(
    ("content_type", "value", "data"),
    [
        (None, None, None),
        (None, b"", None),
        (None, b"[1]", [1]),
        ("text/plain", b"hi", "hi"),
        ("application/avro", b"\x00\xff", b"\x00\xff"),
    ],
)
def test_binary_mode_reads_data_as_its_media_type_says(
    content_type: str | None, value: bytes | None, data: Any
) -> None:
    headers = MINIMAL if content_type is None else {**MINIMAL, "content-type": content_type}

    assert read(headers, value).data == data


@pytest.mark.parametrize(
    ("key", "extensions"),
    [
        (None, {}),
        (b"customer-7", {"partitionkey": "customer-7"}),
        ("\u00e9".encode(), {"partitionkey": "\u00e9"}),
        (b"", {}),
        (b"\x00\x00\x00\x2a", {}),
        (b"\xff\xfe", {}),
        (b"a" * 8192, {"partitionkey": "a" * 8192}),
        (b"a" * 8193, {}),
    ],
)
@pytest.mark.parametrize(("headers", "value"), [(MINIMAL, None), (STRUCTURED, BODY)])
def test_the_key_is_the_partition_key_where_it_is_text(
    headers: dict[str, str], value: bytes | None, key: bytes | None, extensions: dict[str, str]
) -> None:
    assert read(headers, value, key).extensions == extensions


def test_an_event_keeps_its_own_partition_key() -> None:
    assert read({**MINIMAL, "ce_partitionkey": "own"}, key=b"other").extensions == {"partitionkey": "own"}


def test_a_key_never_makes_an_event_break_the_limit_of_extensions() -> None:
    headers = {**MINIMAL, **{f"ce_x{index}": "v" for index in range(64)}}

    assert len(read(headers, key=b"key").extensions) == 64


def test_the_content_type_decides_before_any_header() -> None:
    event = read({**STRUCTURED, **MINIMAL, "ce_id": b"\xff", "ce_Data": "x"}, BODY)

    assert event.id == "1"
    assert event.extensions == {}


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, "unsupported_media_type"),
        ({"content-type": "application/json"}, "unsupported_media_type"),
        ({"ce_id": "1"}, "unsupported_media_type"),
        ({"ce-specversion": "1.0"}, "unsupported_media_type"),
        ({"content-type": "application/cloudevents+avro"}, "unsupported_media_type"),
        ({"content-type": "application/cloudevents-batch+json"}, "unsupported_media_type"),
        ({"content-type": "application/cloudevents+json; charset=latin-1"}, "unsupported_media_type"),
        ({**MINIMAL, "ce_specversion": "0.3"}, "unsupported_specversion"),
        ({**MINIMAL, "ce_specversion": b""}, "unsupported_specversion"),
        ({**MINIMAL, "ce_subject": b"\xff"}, "invalid_unicode"),
        ({**MINIMAL, "content-type": b"\xff"}, "invalid_unicode"),
        ({**MINIMAL, "ce_subject": None}, "invalid_cloudevent"),
        ({**MINIMAL, "ce_subject": b"a\nb"}, "invalid_cloudevent"),
        ({**MINIMAL, "ce_datacontenttype": "text/plain"}, "invalid_cloudevent"),
        ({**MINIMAL, "ce_data": "x"}, "invalid_cloudevent"),
        ({**MINIMAL, "ce_": "x"}, "invalid_cloudevent"),
        ({**MINIMAL, "CE_ID": "1"}, "invalid_cloudevent"),
        ({**MINIMAL, "content-type": "nonsense"}, "invalid_cloudevent"),
    ],
)
def test_records_of_another_kind_are_refused(headers: dict[str, Any], code: str) -> None:
    assert refusal(headers, b"{}").code == code


@pytest.mark.parametrize("value", [None, b""])
def test_structured_mode_needs_a_value(value: bytes | None) -> None:
    assert refusal(STRUCTURED, value).code == "invalid_json"


@pytest.mark.parametrize("name", ["ce_id", "content-type"])
def test_repeated_headers_are_refused(name: str) -> None:
    pairs = [(key, text.encode()) for key, text in MINIMAL.items()] + [("content-type", b"text/plain")]

    with pytest.raises(EventRejected) as caught:
        kafka.from_kafka(None, None, [*pairs, (name, b"text/plain")])

    assert caught.value.code == "invalid_cloudevent"


@pytest.mark.parametrize(("extra", "accepted"), [(-1, True), (0, True), (1, False)])
def test_the_attribute_headers_are_limited_to_64_kib(extra: int, accepted: bool) -> None:
    headers = {**MINIMAL, **{f"ce_x{index}": "a" * 8000 for index in range(8)}}
    size = sum(len(name) + len(text) for name, text in headers.items())
    headers["ce_rest"] = "a" * (65_536 + extra - size - len("ce_rest"))

    if accepted:
        assert read(headers)
    else:
        assert refusal(headers).code == "headers_too_large"


def test_to_kafka_binary_writes_headers_as_utf8_and_no_data_as_no_value() -> None:
    event = Event(id="\u00e9 %", source="/s", type="t", extensions={"partitionkey": "k", "yes": True, "n": 3})

    key, value, headers = kafka.to_kafka(event, "binary")

    assert (key, value) == (b"k", None)
    assert dict(headers) == {
        "ce_specversion": b"1.0",
        "ce_id": "\u00e9 %".encode(),
        "ce_source": b"/s",
        "ce_type": b"t",
        "ce_partitionkey": b"k",
        "ce_yes": b"true",
        "ce_n": b"3",
    }


def test_to_kafka_structured_puts_everything_into_the_value() -> None:
    event = Event(id="1", source="/s", type="t")

    key, value, headers = kafka.to_kafka(event, "structured")

    assert key is None
    assert json.loads(value or b"") == json.loads(BODY)
    assert headers == [("content-type", b"application/cloudevents+json")]
