"""Media types and what they say about a message and its data."""

from __future__ import annotations

from typing import Any

import pytest

from tidemill.errors import EventRejected
from tidemill.events import media
from tidemill.events.media import Mode


@pytest.mark.parametrize(
    ("text", "name", "charset", "is_json", "is_text"),
    [
        ("application/json", "application/json", None, True, False),
        ("Application/JSON; Charset=UTF-8", "application/json", "utf-8", True, False),
        ('application/json;charset="utf-8"', "application/json", "utf-8", True, False),
        ("text/json", "text/json", None, True, True),
        ("application/vnd.order.v1+json; v=1", "application/vnd.order.v1+json", None, True, False),
        ("text/plain;format=flowed ; charset=iso-8859-1", "text/plain", "iso-8859-1", False, True),
        ("application/jsonp", "application/jsonp", None, False, False),
        ("application/json+xml", "application/json+xml", None, False, False),
        ('multipart/mixed; boundary="a;\\"b"; charset=x', "multipart/mixed", "x", False, False),
        ("application/octet-stream;", "application/octet-stream", None, False, False),
        ("text/x; " + "a=b;" * 100 + "charset=utf-8", "text/x", "utf-8", False, True),
    ],
)
def test_parse_reads_a_media_type(
    text: str, name: str, charset: str | None, is_json: bool, is_text: bool
) -> None:
    parsed = media.parse(text)

    assert parsed == media.MediaType(name=name, charset=charset, is_json=is_json, is_text=is_text)


@pytest.mark.parametrize(
    "text",
    ["", "json", "/json", "application/", "a/b/c", "a b/c", "application/json x", "a/b; c", "a/b; c=",
     "a/b;=d",
     'a/b; c="d', "a/b\n", "a/b, c/d", "a/b; c=d e", "\u00e9/a", 'a/b;c="\x00"'],
)  # fmt: skip
def test_parse_refuses_what_is_no_media_type(text: str) -> None:
    assert media.parse(text) is None


@pytest.mark.parametrize(
    ("content_type", "mode"),
    [
        (None, Mode.BINARY),
        ("", Mode.BINARY),
        ("application/json", Mode.BINARY),
        ("text/cloudevents", Mode.BINARY),
        ("application/cloudevents+json", Mode.STRUCTURED),
        ("Application/CloudEvents+JSON; charset=UTF-8", Mode.STRUCTURED),
        ("application/cloudevents+json;charset=us-ascii", Mode.STRUCTURED),
        ("application/cloudevents-batch+json", Mode.BATCH),
        ("application/cloudevents-batch+json; charset=utf-8", Mode.BATCH),
    ],
)
def test_content_mode_follows_the_content_type(content_type: str | None, mode: Mode) -> None:
    assert media.content_mode(content_type) is mode


@pytest.mark.parametrize(
    "content_type",
    [
        "application/cloudevents", "application/cloudevents+avro", "application/cloudevents+xml",
        "application/cloudevents+protobuf", "application/cloudevents-batch+avro", "application/cloudeventsx",
        "application/cloudevents+json; charset=iso-8859-1",
        "application/cloudevents-batch+json; charset=utf-16",
        "application/cloudevents+json; x", "APPLICATION/CLOUDEVENTS+AVRO",
    ],
)  # fmt: skip
def test_content_mode_refuses_other_formats_and_charsets(content_type: str) -> None:
    with pytest.raises(EventRejected) as caught:
        media.content_mode(content_type)

    assert caught.value.code == "unsupported_media_type"


@pytest.mark.parametrize(
    ("content_type", "body", "data"),
    [
        (None, b'{"a": 1}', {"a": 1}),
        ("application/json", b'"text"', "text"),
        ("application/x+json; charset=utf-8", b"[1]", [1]),
        ("text/plain", "\u00e9".encode(), "\u00e9"),
        ("text/csv; charset=utf-8", b"a,b", "a,b"),
        ("text/plain", b"\xe9", b"\xe9"),
        ("text/plain; charset=latin-1", b"\xe9", b"\xe9"),
        ("application/xml", b"<a/>", b"<a/>"),
        ("application/octet-stream", b"\x00", b"\x00"),
    ],
)
def test_decode_data_reads_as_the_media_type_says(content_type: str | None, body: bytes, data: Any) -> None:
    decoded = media.decode_data(content_type, body)

    assert decoded == data
    assert media.encode_data(content_type, decoded).replace(b" ", b"") == body.replace(b" ", b"")


@pytest.mark.parametrize(
    ("content_type", "body", "code"),
    [
        (None, b"hello", "invalid_json"),
        ("application/json", b"\xff", "invalid_unicode"),
        ("application/json; charset=utf-16", b"1", "unsupported_media_type"),
        ("text/plain; charset=utf-8", b"\xff", "invalid_unicode"),
    ],
)
def test_decode_data_refuses_what_is_not_what_it_says(
    content_type: str | None, body: bytes, code: str
) -> None:
    with pytest.raises(EventRejected) as caught:
        media.decode_data(content_type, body)

    assert caught.value.code == code


@pytest.mark.parametrize(
    ("content_type", "data", "body"),
    [
        ("text/plain; charset=iso-8859-1", "\u00e9", b"\xe9"),
        ("text/plain; charset=iso-8859-1", "\u20ac", "\u20ac".encode()),
        ("text/plain; charset=unheard-of", "\u00e9", "\u00e9".encode()),
        ("application/xml", "<a/>", b"<a/>"),
        ("application/json", "text", b'"text"'),
        ("application/json", b"[1]", b"[1]"),
    ],
)
def test_encode_data_writes_as_the_media_type_says(content_type: str, data: Any, body: bytes) -> None:
    assert media.encode_data(content_type, data) == body
