"""The JSON event format: the specification's examples, every refusal, batches, and the way out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tidemill.errors import EventRejected
from tidemill.events import json_format
from tidemill.events.event import Event

MINIMAL = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}


def body(**members: Any) -> bytes:
    return json.dumps({**MINIMAL, **members}).encode()


def refusal(text: bytes) -> EventRejected:
    with pytest.raises(EventRejected) as caught:
        json_format.decode(text)
    return caught.value


def test_decode_reads_every_member() -> None:
    event = json_format.decode(
        body(
            subject="s",
            time="2018-04-05T17:31:00Z",
            datacontenttype="application/json",
            dataschema="https://x/1",
            comexampleextension1="value",
            comexampleothervalue=5,
            flag=True,
            unset=None,
            data={"appinfoA": "abc", "appinfoB": 123},
        )
    )

    assert event == Event(
        id="1",
        source="/s",
        type="t",
        subject="s",
        time="2018-04-05T17:31:00Z",
        datacontenttype="application/json",
        dataschema="https://x/1",
        data={"appinfoA": "abc", "appinfoB": 123},
        extensions={"comexampleextension1": "value", "comexampleothervalue": 5, "flag": True},
    )


@pytest.mark.parametrize(
    "name", ["subject", "time", "datacontenttype", "dataschema", "data", "data_base64", "x"]
)
def test_decode_takes_null_for_absent(name: str) -> None:
    assert json_format.decode(body(**{name: None})) == json_format.decode(body())


@pytest.mark.parametrize("name", ["id", "source", "type", "specversion"])
@pytest.mark.parametrize("is_null", [False, True])
def test_decode_never_invents_required_attributes(name: str, is_null: bool) -> None:
    members = {**MINIMAL, name: None} if is_null else {key: MINIMAL[key] for key in MINIMAL if key != name}

    refused = refusal(json.dumps(members).encode())

    assert (refused.code, refused.attribute) == ("invalid_cloudevent", name)
    assert refused.detail == f"{name} is missing"


@pytest.mark.parametrize(
    ("content_type", "data"),
    [
        (None, "I'm just a string"),
        ("application/json", "[1]"),
        ("application/json", [1, None, {"a": 1.5}]),
        ("text/x+json; a=b", 0),
        (None, False),
        ("application/xml", '<much wow="xml"/>'),
        ("text/plain", ""),
    ],
)
def test_decode_keeps_data_as_the_value_it_is(content_type: str | None, data: Any) -> None:
    event = json_format.decode(body(datacontenttype=content_type, data=data))

    assert event.data == data
    assert type(event.data) is type(data)


@pytest.mark.parametrize(
    ("content_type", "text", "data"),
    [
        ("application/octet-stream", "AAEC/w==", b"\x00\x01\x02\xff"),
        (None, "eA==", b"x"),
        ("application/json", "W10=", b"[]"),
        ("text/plain", "", b""),
    ],
)
def test_decode_reads_data_base64_as_bytes(content_type: str | None, text: str, data: bytes) -> None:
    event = json_format.decode(body(datacontenttype=content_type, data_base64=text))

    assert event.data == data
    assert json_format.decode(json_format.encode(event)) == event


@pytest.mark.parametrize("text", ["A", "AA", "AAA", "AA==A", "A===", "AA=\n=", " AA==", "AA__", "\u00e9",
"AAEC/w==\n", "====", 1, [], {}, True])  # fmt: skip
def test_decode_refuses_what_is_not_base64(text: Any) -> None:
    refused = refusal(body(data_base64=text))

    assert (refused.code, refused.attribute) == ("invalid_cloudevent", "data_base64")


def test_decode_refuses_data_beside_data_base64() -> None:
    assert refusal(body(data=1, data_base64="eA==")).attribute == "data_base64"


@pytest.mark.parametrize("data", [1, {}, [], True])
def test_decode_refuses_data_that_is_no_text_for_a_media_type_that_is_not_json(data: Any) -> None:
    assert refusal(body(datacontenttype="application/xml", data=data)).attribute == "data"


@pytest.mark.parametrize("value", [1.5, [], {}, {"a": 1}, 2**31, -(2**31) - 1, 1e3])
def test_decode_refuses_extensions_of_other_types(value: Any) -> None:
    assert refusal(body(myext=value)).attribute == "myext"


@pytest.mark.parametrize("name", ["Upper", "under_score", "da-sh", "", "a" * 65, "\u00e9", "data_base65"])
def test_decode_refuses_names_that_no_attribute_has(name: str) -> None:
    assert refusal(body(**{name: "x"})).code == "invalid_cloudevent"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"", "invalid_json"),
        (b"[]", "invalid_cloudevent"),
        (b"null", "invalid_cloudevent"),
        (b'"event"', "invalid_cloudevent"),
        (b"{}", "invalid_cloudevent"),
        (body(specversion="0.3"), "unsupported_specversion"),
        (body(specversion=1.0), "invalid_cloudevent"),
        (body()[:-1] + b',"id":"2"}', "duplicate_key"),
        (body(data="x").replace(b'"x"', b'"\\ud800"'), "invalid_unicode"),
        (body(data="x").replace(b'"x"', b"1e999"), "number_out_of_range"),
        (body(id="a\nb"), "invalid_cloudevent"),
    ],
)
def test_decode_refuses_with_the_code_of_the_fault(text: bytes, code: str) -> None:
    assert refusal(text).code == code


def test_decode_counts_nesting_within_data() -> None:
    def nested(depth: int) -> bytes:
        return body(data="x").replace(b'"x"', b"[" * depth + b"]" * depth)

    assert json_format.decode(nested(63))
    assert json_format.decode(nested(64))
    assert refusal(nested(65)).code == "json_too_deep"


def test_from_json_leaves_the_parsed_object_as_it_is() -> None:
    members = {**MINIMAL, "x": None, "data": {"a": 1}}

    json_format.from_json(members)

    assert members == {**MINIMAL, "x": None, "data": {"a": 1}}


def test_encode_leaves_absent_members_out() -> None:
    event = Event(id="1", source="/s", type="t")

    assert json.loads(json_format.encode(event)) == MINIMAL


# ── batches ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("size", [0, 1, 2])
def test_decode_batch_reads_events_in_order_up_to_the_limit(size: int) -> None:
    batch = [{**MINIMAL, "id": str(index)} for index in range(size)]

    events = json_format.decode_batch(json.dumps(batch).encode(), max_events=2)

    assert [event.id for event in events] == [str(index) for index in range(size)]
    assert json_format.decode_batch(json_format.encode_batch(events), max_events=2) == events


def test_decode_batch_refuses_one_event_too_many() -> None:
    with pytest.raises(EventRejected) as caught:
        json_format.decode_batch(json.dumps([MINIMAL] * 3).encode(), max_events=2)

    assert caught.value.code == "batch_too_large"


@pytest.mark.parametrize("text", [b"{}", json.dumps(MINIMAL).encode(), b"null", b'"x"'])
def test_decode_batch_refuses_what_is_no_array(text: bytes) -> None:
    with pytest.raises(EventRejected) as caught:
        json_format.decode_batch(text, max_events=2)

    assert (caught.value.code, caught.value.index) == ("invalid_cloudevent", None)


@pytest.mark.parametrize("bad", [{}, [], 1, None, {**MINIMAL, "id": ""}, {**MINIMAL, "specversion": "0.3"}])
def test_decode_batch_says_which_event_is_to_blame(bad: Any) -> None:
    with pytest.raises(EventRejected) as caught:
        json_format.decode_batch(json.dumps([MINIMAL, MINIMAL, bad, MINIMAL]).encode(), max_events=9)

    assert caught.value.index == 2


def test_decode_batch_lets_data_be_as_deep_as_alone() -> None:
    def nested(depth: int) -> bytes:
        return b"[" + body(data="x").replace(b'"x"', b"[" * depth + b"]" * depth) + b"]"

    assert json_format.decode_batch(nested(64), max_events=1)
    with pytest.raises(EventRejected, match="more than 64 deep"):
        json_format.decode_batch(nested(65), max_events=1)
