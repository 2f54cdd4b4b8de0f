"""The HTTP protocol binding: three modes by content type, headers by the letter, and the way out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tidemill.errors import EventRejected
from tidemill.events import http
from tidemill.events.event import Event

JSON = b"application/json"
MINIMAL = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/s", "ce-type": "t"}
STRUCTURED = json.dumps({"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}).encode()


def read(headers: dict[str, Any], body: bytes = b"") -> Event:
    pairs = [
        (name.encode("latin-1"), value if isinstance(value, bytes) else value.encode("latin-1"))
        for name, value in headers.items()
    ]
    events, was_batch = http.from_http(pairs, body, max_events=10)
    assert not was_batch
    (event,) = events
    return event


def refusal(headers: dict[str, Any], body: bytes = b"") -> EventRejected:
    with pytest.raises(EventRejected) as caught:
        read(headers, body)
    return caught.value


def test_binary_mode_reads_headers_and_body() -> None:
    event = read(
        {
            "Host": "x",
            "CE-SpecVersion": "1.0",
            "Ce-Id": "A234",
            "ce-source": "/mycontext",
            "ce-type": "com.example.someevent",
            "ce-subject": "s",
            "ce-time": "2018-04-05T03:56:24Z",
            "ce-dataschema": "urn:x",
            "ce-comexampleothervalue": "5",
            "Content-Type": "application/json; charset=utf-8",
        },
        b'{"a": 1}',
    )

    assert event == Event(
        id="A234",
        source="/mycontext",
        type="com.example.someevent",
        subject="s",
        time="2018-04-05T03:56:24Z",
        datacontenttype="application/json; charset=utf-8",
        dataschema="urn:x",
        data={"a": 1},
        extensions={"comexampleothervalue": "5"},
    )


@pytest.mark.parametrize(
    ("content_type", "body", "data"),
    [
        (None, b"", None),
        (None, b"[1]", [1]),
        ("application/json", b"", None),
        ("application/json", b'"x"', "x"),
        ("text/plain", b"hi", "hi"),
        ("application/avro", b"\x00\xff", b"\x00\xff"),
        ("application/x-www-form-urlencoded", b"a=b", b"a=b"),
    ],
)
def test_binary_mode_reads_data_as_its_media_type_says(
    content_type: str | None, body: bytes, data: Any
) -> None:
    headers = MINIMAL if content_type is None else {**MINIMAL, "content-type": content_type}

    event = read(headers, body)

    assert (event.datacontenttype, event.data) == (content_type, data)


@pytest.mark.parametrize(
    ("sent", "value"),
    [
        ("plain", "plain"),
        ("Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro \u20ac \U0001f600"),
        ("euro%20%e2%82%ac", "euro \u20ac"),
        ("a b", "a b"),
        ('"quoted value"', "quoted value"),
        ('"with \\"inner\\" and \\\\"', 'with "inner" and \\'),
        ('"%41"', "A"),
        ("%2541", "%41"),
        ("%22", '"'),
        ('mid"dle', 'mid"dle'),
        ('"', '"'),
        ("  padded\t", "padded"),
        ("%20kept%20", " kept "),
        ("100%25", "100%"),
    ],
)
def test_header_values_are_unquoted_and_percent_decoded_once(sent: str, value: str) -> None:
    assert read({**MINIMAL, "ce-subject": sent}).subject == value


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"100%", "invalid_encoding"),
        (b"%zz", "invalid_encoding"),
        (b"%4", "invalid_encoding"),
        (b"%E2%8", "invalid_encoding"),
        ("\u00e9".encode(), "invalid_encoding"),
        (b"\xe9", "invalid_encoding"),
        (b"%FF", "invalid_unicode"),
        (b"%E2%82", "invalid_unicode"),
        (b"%ED%A0%80", "invalid_unicode"),
        (b"%C0%AF", "invalid_unicode"),
        (b"%0A", "invalid_cloudevent"),
        (b"%00", "invalid_cloudevent"),
        (b"%7F", "invalid_cloudevent"),
        (b"%EF%BF%BF", "invalid_cloudevent"),
        (b"", "invalid_cloudevent"),
        (b'""', "invalid_cloudevent"),
    ],
)
def test_badly_encoded_header_values_are_refused(sent: bytes, code: str) -> None:
    refused = refusal({**MINIMAL, "ce-subject": sent})

    assert (refused.code, refused.attribute) == (code, "subject")


@pytest.mark.parametrize("name", ["ce-id", "ce-source", "ce-type"])
def test_binary_mode_never_invents_required_attributes(name: str) -> None:
    refused = refusal({key: MINIMAL[key] for key in MINIMAL if key != name})

    assert (refused.code, refused.attribute) == ("invalid_cloudevent", name[3:])


@pytest.mark.parametrize("name", ["ce-", "ce-data", "ce-data_base64", "ce-my_ext", "ce-a.b",
"ce-datacontenttype", "ce-\u00e9", "ce-" + "a" * 65])  # fmt: skip
def test_binary_mode_refuses_headers_that_are_no_attribute(name: str) -> None:
    assert refusal({**MINIMAL, name: "x"}).code == "invalid_cloudevent"


@pytest.mark.parametrize("second", ["ce-id", "CE-ID", "content-type"])
def test_repeated_headers_are_refused(second: str) -> None:
    pairs = [(name.encode(), value.encode()) for name, value in MINIMAL.items()] + [(b"Content-Type", JSON)]

    with pytest.raises(EventRejected) as caught:
        http.from_http([*pairs, (second.encode(), b"1")], b"", max_events=1)

    assert caught.value.code == "invalid_cloudevent"


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, "unsupported_media_type"),
        ({"content-type": "application/json"}, "unsupported_media_type"),
        ({"content-type": "application/json", "ce-id": "1"}, "unsupported_media_type"),
        ({"content-type": "application/cloudevents+avro"}, "unsupported_media_type"),
        ({**MINIMAL, "content-type": "application/cloudevents+xml"}, "unsupported_media_type"),
        ({**MINIMAL, "content-type": "application/cloudevents"}, "unsupported_media_type"),
        ({"content-type": "application/cloudevents+json; charset=utf-16"}, "unsupported_media_type"),
        ({**MINIMAL, "content-type": "application/json; charset=latin-1"}, "unsupported_media_type"),
        ({**MINIMAL, "content-type": "nonsense"}, "invalid_cloudevent"),
        ({**MINIMAL, "content-type": ""}, "invalid_cloudevent"),
        ({**MINIMAL, "ce-specversion": "0.3"}, "unsupported_specversion"),
        ({**MINIMAL, "ce-specversion": ""}, "unsupported_specversion"),
    ],
)
def test_messages_of_another_kind_are_refused(headers: dict[str, str], code: str) -> None:
    assert refusal(headers, b"{}").code == code


@pytest.mark.parametrize(
    ("content_type", "body", "code"),
    [
        ("application/json", b"{", "invalid_json"),
        ("application/json", b'{"a":1,"a":2}', "duplicate_key"),
        ("application/json", b"\xff", "invalid_unicode"),
        ("application/json", b"[" * 65 + b"]" * 65, "json_too_deep"),
        ("text/plain; charset=utf-8", b"\xff", "invalid_unicode"),
    ],
)
def test_data_that_is_not_what_it_says_is_refused(content_type: str, body: bytes, code: str) -> None:
    assert refusal({**MINIMAL, "content-type": content_type}, body).code == code


def test_data_may_be_64_deep() -> None:
    assert read({**MINIMAL, "content-type": "application/json"}, b"[" * 64 + b"]" * 64)


@pytest.mark.parametrize(("extra", "accepted"), [(-1, True), (0, True), (1, False)])
def test_the_attribute_headers_are_limited_to_64_kib(extra: int, accepted: bool) -> None:
    headers = {**MINIMAL, **{f"ce-x{index}": "a" * 8000 for index in range(8)}}
    size = sum(len(name) + len(value) for name, value in headers.items())
    headers["ce-rest"] = "a" * (65_536 + extra - size - len("ce-rest"))

    if accepted:
        assert read(headers)
    else:
        assert refusal(headers).code == "headers_too_large"


@pytest.mark.parametrize(
    "content_type", ["application/cloudevents+json", "Application/CloudEvents+JSON; charset=UTF-8"]
)
def test_the_content_type_decides_before_any_header(content_type: str) -> None:
    event = read({**MINIMAL, "ce-id": "%", "content-type": content_type, "ce-Data": "x"}, STRUCTURED)

    assert event.id == "1"
    assert event.extensions == {}


def test_batched_mode_reads_events_and_says_so() -> None:
    headers = [(b"content-type", b"application/cloudevents-batch+json")]

    events, was_batch = http.from_http(headers, b"[" + STRUCTURED + b"," + STRUCTURED + b"]", max_events=2)

    assert was_batch
    assert [event.id for event in events] == ["1", "1"]
    assert http.from_http(headers, b"[]", max_events=2) == ([], True)
    with pytest.raises(EventRejected) as caught:
        http.from_http(headers, b"[" + STRUCTURED + b"," + STRUCTURED + b"]", max_events=1)
    assert caught.value.code == "batch_too_large"


def test_to_http_binary_escapes_what_the_binding_wants_escaped() -> None:
    event = Event(
        id='a "%\u20ac', source="/s?a=b&c#d", type="t", extensions={"yes": True, "no": False, "n": -1}
    )

    headers, body = http.to_http_binary(event)

    assert dict(headers) == {
        "ce-specversion": "1.0",
        "ce-id": "a%20%22%25%E2%82%AC",
        "ce-source": "/s?a=b&c#d",
        "ce-type": "t",
        "ce-yes": "true",
        "ce-no": "false",
        "ce-n": "-1",
    }
    assert body == b""


@pytest.mark.parametrize(
    ("content_type", "data", "named", "body"),
    [
        (None, {"a": 1}, "application/json", b'{"a":1}'),
        (None, b"\x00", "application/octet-stream", b"\x00"),
        ("application/json", "text", "application/json", b'"text"'),
        ("text/plain", "text", "text/plain", b"text"),
        ("application/json", None, "application/json", b""),
        (None, None, None, b""),
    ],
)
def test_to_http_binary_names_the_media_type_of_its_body(
    content_type: str | None, data: Any, named: str | None, body: bytes
) -> None:
    headers, sent = http.to_http_binary(
        Event(id="1", source="/s", type="t", datacontenttype=content_type, data=data)
    )

    assert dict(headers).get("content-type") == named
    assert sent == body
