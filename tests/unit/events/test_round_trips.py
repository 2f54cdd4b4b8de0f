"""Properties of all codecs: nothing is lost on the way, the `cloudevents` package reads the same event,
and the
same bytes get the same verdict on every source.

Left out are the package's known weaknesses: it invents a missing `time`, writes text under a JSON media type
unquoted, reads bytes that happen to be UTF-8 as text, and knows no batches.
"""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime
from typing import Any

from cloudevents.core.bindings import http as sdk_http
from cloudevents.core.bindings import kafka as sdk_kafka
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st

from tidemill.errors import EventRejected
from tidemill.events import digest, http, json_format, kafka, sdk, validate
from tidemill.events.event import Event

_FORBIDDEN = [
    chr(code) for plane in range(17) for code in (plane * 0x10000 + 0xFFFE, plane * 0x10000 + 0xFFFF)
]
_CHARACTERS = st.characters(
    exclude_categories=["Cc", "Cs"], exclude_characters=[*_FORBIDDEN, *map(chr, range(0xFDD0, 0xFDF0))]
)
_TEXT = st.text(_CHARACTERS, min_size=1, max_size=12)
_SOURCES = st.sampled_from(
    ["/s", "https://example.com/a?b=c%20d#e", "urn:uuid:6e8bc430", "a", "//h:1/p", "?q"]
)
_TIMES = st.datetimes(min_value=datetime(1900, 1, 1), timezones=st.just(UTC)).map(  # noqa: DTZ001
    lambda at: at.isoformat().replace("+00:00", "Z")
)
_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
_OBJECTS = st.dictionaries(st.text(max_size=6), _JSON, max_size=4)
#: Bytes that are never UTF-8, which the package would read as text.
_BYTES = st.binary(max_size=20).map(lambda data: b"\xff" + data)
_NAMES = st.from_regex(r"[a-z0-9]{1,12}", fullmatch=True).filter(
    lambda name: name not in {"id", "source", "type", "subject", "time", "data", "dataschema", "specversion"}
)
_EXTENSIONS = st.dictionaries(
    _NAMES, st.text(_CHARACTERS, max_size=8) | st.booleans() | st.integers(-(2**31), 2**31 - 1), max_size=3
)
_CONTENT = (
    st.tuples(st.sampled_from(["application/json", "application/x+json; charset=utf-8", "text/json"]), _JSON)
    | st.tuples(st.none(), _JSON)
    | st.tuples(st.sampled_from(["text/plain", "text/csv; charset=utf-8"]), st.text(min_size=1, max_size=20))
    | st.tuples(st.sampled_from(["application/octet-stream", "application/avro"]), _BYTES)
)


def _event(content: st.SearchStrategy[tuple[str | None, Any]], times: Any) -> st.SearchStrategy[Event]:
    return st.builds(
        lambda pair, **attributes: validate.create(datacontenttype=pair[0], data=pair[1], **attributes),
        content,
        id=_TEXT,
        source=_SOURCES,
        type=_TEXT,
        subject=st.none() | _TEXT,
        time=times,
        dataschema=st.none() | st.just("https://example.com/schema/1"),
        extensions=_EXTENSIONS,
    )


EVENTS = _event(_CONTENT, st.none() | _TIMES)
#: Events that the package can carry: with a time, and (for its own writers) with objects or text as data.
SDK_EVENTS = _event(_CONTENT, _TIMES)
SDK_WRITTEN = _event(
    st.tuples(st.just("application/json"), st.none() | _OBJECTS)
    | st.tuples(st.just("text/plain"), st.text(min_size=1, max_size=20))
    | st.tuples(st.just("application/octet-stream"), _BYTES),
    _TIMES,
)


def over_http(headers: list[tuple[str, str]], body: bytes) -> Event:
    events, _ = http.from_http([(n.encode(), v.encode()) for n, v in headers], body, max_events=1)
    return events[0]


def named(event: Event) -> Event:
    """The event as binary mode carries it: its media type is named, its extensions are text."""
    implied = None if event.data is None else event.datacontenttype or "application/json"
    texts = {
        name: ("true" if value else "false") if isinstance(value, bool) else str(value)
        for name, value in event.extensions.items()
    }
    return dataclasses.replace(event, datacontenttype=event.datacontenttype or implied, extensions=texts)


def seen(converted: Any) -> tuple[dict[str, Any], Any]:
    return converted.get_attributes(), converted.get_data()


@given(EVENTS)
def test_json_carries_an_event_whole(event: Event) -> None:
    assert json_format.decode(json_format.encode(event)) == event
    assert json_format.decode_batch(json_format.encode_batch([event]), max_events=1) == [event]
    assert digest.decode_from_log(digest.encode_for_log(event)) == event
    assert over_http(*http.to_http_structured(event)) == event


@given(EVENTS)
def test_binary_mode_carries_an_event_whole(event: Event) -> None:
    over_kafka = kafka.from_kafka(*kafka.to_kafka(event, "binary"))

    assert over_http(*http.to_http_binary(event)) == over_kafka
    assert over_kafka == named(event)
    assert digest.content_digest(over_kafka) == digest.content_digest(event)


@given(EVENTS)
def test_structured_kafka_carries_an_event_whole(event: Event) -> None:
    assert kafka.from_kafka(*kafka.to_kafka(event, "structured")) == event


@given(SDK_EVENTS)
def test_the_package_reads_our_structured_messages(event: Event) -> None:
    headers, body = http.to_http_structured(event)
    key, value, kafka_headers = kafka.to_kafka(event, "structured")

    read = sdk_http.from_http(sdk_http.HTTPMessage(dict(headers), body), JSONFormat(), CloudEvent)
    record = sdk_kafka.from_kafka(
        sdk_kafka.KafkaMessage(dict(kafka_headers), key, value or b""), JSONFormat(), CloudEvent
    )

    assert seen(read) == seen(sdk.to_sdk(event))
    assert sdk.from_sdk(read) == event
    assert seen(record) == seen(read)


@given(SDK_EVENTS)
def test_the_package_reads_our_binary_messages(event: Event) -> None:
    headers, body = http.to_http_binary(event)
    key, value, kafka_headers = kafka.to_kafka(event, "binary")

    read = sdk_http.from_http(sdk_http.HTTPMessage(dict(headers), body), JSONFormat(), CloudEvent)
    record = sdk_kafka.from_kafka(
        sdk_kafka.KafkaMessage(dict(kafka_headers), key, value or b""), JSONFormat(), CloudEvent
    )

    assert seen(read) == seen(sdk.to_sdk(named(event)))
    assert seen(record) == seen(read)


@given(SDK_WRITTEN)
def test_we_read_what_the_package_writes(event: Event) -> None:
    converted = sdk.to_sdk(event)
    structured, binary = sdk_http.to_structured_event(converted), sdk_http.to_binary_event(converted)
    record = sdk_kafka.to_binary_event(converted)

    assert over_http(list(structured.headers.items()), structured.body) == event
    # it writes True, not true
    texts = {name: str(value) for name, value in event.extensions.items()}
    as_text = dataclasses.replace(event, extensions=texts)
    assert over_http(list(binary.headers.items()), binary.body) == as_text
    assert kafka.from_kafka(None, record.value, list(record.headers.items())) == as_text


def _verdict(read: Any) -> Any:
    try:
        return read()
    except EventRejected as refusal:
        return (refusal.code, refusal.detail, refusal.attribute)


_WRONG: st.SearchStrategy[Any] = st.sampled_from(
    [None, "", 1, 2**31, 1.5, True, [], {}, "a\nb", "\x7f", "x" * 8193, "0.3", "1.0", "not a uri",
     "2026-02-30T00:00:00Z"]
)  # fmt: skip
_MEMBERS = st.sampled_from(
    ["specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema", "data",
     "data_base64",
     "ext", "Bad_Name"]
)  # fmt: skip


@given(EVENTS, st.dictionaries(_MEMBERS, _WRONG, max_size=2), st.binary(max_size=3), st.integers(0, 400))
def test_the_same_bytes_get_the_same_verdict_on_http_and_kafka(
    event: Event, wrong: dict[str, Any], noise: bytes, at: int
) -> None:
    text = json.dumps({**json_format.to_json(event), **wrong}).encode()
    body = text[:at] + noise + text[at:]
    content_type = b"application/cloudevents+json"

    posted = _verdict(lambda: http.from_http([(b"content-type", content_type)], body, max_events=1)[0][0])
    consumed = _verdict(lambda: kafka.from_kafka(None, body, [("content-type", content_type)]))
    batched = _verdict(lambda: json_format.decode_batch(b"[" + body + b"]", max_events=1)[0])

    assert posted == consumed
    assert isinstance(posted, Event) == isinstance(batched, Event)
