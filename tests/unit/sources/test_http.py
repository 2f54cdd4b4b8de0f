"""`POST /events` as its senders see it: the whole table of answers, each limit at, below and above it."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tidemill.errors import DiskFull, StoreUnavailable
from tidemill.settings import Settings
from tidemill.sources.contract import SourceState
from tidemill.sources.http import HttpIngest
from tidemill.storage.contract import Append, Appended, Store
from tidemill.storage.sqlite import open_store
from tidemill.testing.clock import ManualClock

STRUCTURED = "application/cloudevents+json"
STRUCTURED_FIELDS = ((b"content-type", STRUCTURED.encode()),)
BATCH = "application/cloudevents-batch+json"
BINARY = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/shop", "ce-type": "order.placed"}

Ask = Callable[..., Any]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await open_store(tmp_path / "tidemill.db", clock=ManualClock())
    yield opened
    await opened.close()


@pytest.fixture
def make_ingest(store: Store) -> Callable[..., HttpIngest]:
    def make(*, log: Any = None, **settings: Any) -> HttpIngest:
        return HttpIngest(log or store.log, clock=ManualClock(), settings=Settings(**settings))

    return make


@pytest.fixture
async def ask(make_ingest: Callable[..., HttpIngest]) -> AsyncIterator[Ask]:
    """Posts one body with one content type and gives the answer."""
    clients: list[httpx.AsyncClient] = []

    async def post(
        body: Any,
        content_type: str | None = STRUCTURED,
        *,
        headers: Any = (),
        method: str = "POST",
        **made: Any,
    ) -> httpx.Response:
        ingest = made.pop("ingest", None) or make_ingest(**made)
        client = httpx.AsyncClient(transport=httpx.ASGITransport(ingest), base_url="http://localhost")
        clients.append(client)
        fields = list(dict(headers).items() if isinstance(headers, dict) else headers)
        if content_type is not None:
            fields.append(("content-type", content_type))
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await client.request(method, "/events", content=content, headers=fields)

    yield post
    for client in clients:
        await client.aclose()


def event(event_id: str = "1", **members: Any) -> dict[str, Any]:
    return {"specversion": "1.0", "id": event_id, "source": "/shop", "type": "order.placed", **members}


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def padded(size: int, **members: Any) -> bytes:
    """A structured event of exactly `size` bytes."""
    bare = json.dumps(event(data="", **members)).encode()
    return json.dumps(event(data="x" * (size - len(bare)), **members)).encode()


# ── what is accepted ──────────────────────────────────────────────────────────────────────────────────────


async def test_ingest_answers_with_position_once_the_event_is_in_the_log(ask: Ask, store: Store) -> None:
    first = await ask(event("1", data={"amount": 12}))
    second = await ask(event("2"))

    assert (first.status_code, first.json()) == (202, {"position": 1, "duplicate": False})
    assert (second.status_code, second.json()) == (202, {"position": 2, "duplicate": False})
    logged = await store.log.get(1)
    assert logged is not None
    assert logged.event.data == {"amount": 12}


async def test_ingest_takes_binary_mode_with_the_body_as_data(ask: Ask, store: Store) -> None:
    answer = await ask(b'{"amount": 12}', "application/json", headers=BINARY)

    assert answer.json() == {"position": 1, "duplicate": False}
    logged = await store.log.get(1)
    assert logged is not None
    assert (logged.event.type, logged.event.data) == ("order.placed", {"amount": 12})


async def test_ingest_takes_binary_mode_without_a_body(ask: Ask) -> None:
    answer = await ask(b"", None, headers=BINARY)

    assert answer.status_code == 202


async def test_ingest_answers_a_batch_event_by_event(ask: Ask) -> None:
    await ask(event("2"))

    answer = await ask([event("1"), event("2"), event("3"), event("1")], BATCH)

    assert answer.status_code == 202
    assert answer.json() == {
        "events": [
            {"position": 2, "duplicate": False},
            {"position": 1, "duplicate": True},
            {"position": 3, "duplicate": False},
            {"position": 2, "duplicate": True},
        ]
    }


async def test_ingest_takes_an_empty_batch(ask: Ask, store: Store) -> None:
    answer = await ask([], BATCH)

    assert (answer.status_code, answer.json()) == (202, {"events": []})
    assert store.log.head == 0


async def test_ingest_answers_a_duplicate_as_the_first_with_its_position(ask: Ask, store: Store) -> None:
    await ask(event("1", data={"a": 1, "b": 2}))
    await ask(event("2"))

    again = await ask(event("1", data={"b": 2, "a": 1}))

    assert (again.status_code, again.json()) == (202, {"position": 1, "duplicate": True})
    assert store.log.head == 2


@pytest.mark.parametrize("coding", ["gzip", "GZIP", "x-gzip"])
async def test_ingest_decodes_gzip(ask: Ask, coding: str) -> None:
    answer = await ask(gzip.compress(json.dumps(event()).encode()), headers={"content-encoding": coding})

    assert answer.json() == {"position": 1, "duplicate": False}


async def test_ingest_decodes_gzip_of_several_members(ask: Ask) -> None:
    text = json.dumps(event()).encode()

    answer = await ask(
        gzip.compress(text[:20]) + gzip.compress(text[20:]), headers={"content-encoding": "gzip"}
    )

    assert answer.status_code == 202


async def test_ingest_takes_identity_as_no_coding(ask: Ask) -> None:
    assert (await ask(event(), headers={"content-encoding": "identity"})).status_code == 202


async def test_ingest_counts_what_it_answered(ask: Ask, make_ingest: Callable[..., HttpIngest]) -> None:
    ingest = make_ingest()

    await ask([event("1"), event("2"), event("1")], BATCH, ingest=ingest)
    await ask(b"{", ingest=ingest)

    status = ingest.status()
    assert (status.name, status.kind, status.state) == ("http", "http", SourceState.LIVE)
    assert (status.accepted, status.duplicates, status.refused) == (2, 1, 1)
    assert status.last_event_at is not None


# ── what is refused ───────────────────────────────────────────────────────────────────────────────────────

REFUSALS: dict[str, tuple[Any, str | None, dict[str, str], int, str]] = {
    "no json": (b"{", STRUCTURED, {}, 400, "invalid_json"),
    "empty body": (b"", STRUCTURED, {}, 400, "invalid_json"),
    "trailing text": (b'{"a":1} x', STRUCTURED, {}, 400, "invalid_json"),
    "not a number": (b'{"a":NaN}', STRUCTURED, {}, 400, "invalid_json"),
    "an array": (b"[]", STRUCTURED, {}, 400, "invalid_cloudevent"),
    "bad utf-8": (b'{"a":"\xff"}', STRUCTURED, {}, 400, "invalid_unicode"),
    "lone surrogate": (b'{"a":"\\ud800"}', STRUCTURED, {}, 400, "invalid_unicode"),
    "duplicate key": (
        b'{"specversion":"1.0","id":"1","id":"2","source":"/s","type":"t"}',
        STRUCTURED,
        {},
        400,
        "duplicate_key",
    ),
    "number too large": (event(data=2**64), STRUCTURED, {}, 400, "number_out_of_range"),
    "no id": ({"specversion": "1.0", "source": "/s", "type": "t"}, STRUCTURED, {}, 400, "invalid_cloudevent"),
    "empty id": (event(""), STRUCTURED, {}, 400, "invalid_cloudevent"),
    "control character": (event("a\x00b"), STRUCTURED, {}, 400, "invalid_cloudevent"),
    "bad time": (event(time="yesterday"), STRUCTURED, {}, 400, "invalid_cloudevent"),
    "extension object": (event(extra={}), STRUCTURED, {}, 400, "invalid_cloudevent"),
    "old version": (event(specversion="0.3"), STRUCTURED, {}, 400, "unsupported_specversion"),
    "our own type": (event(type="dev.tidemill.run.succeeded.v1"), STRUCTURED, {}, 400, "reserved_type"),
    "no event at all": (b"{}", "application/json", {}, 415, "unsupported_media_type"),
    "no content type": (b"{}", None, {}, 415, "unsupported_media_type"),
    "another format": (b"<e/>", "application/cloudevents+xml", {}, 415, "unsupported_media_type"),
    "another charset": (event(), f"{STRUCTURED}; charset=utf-16", {}, 415, "unsupported_media_type"),
    "binary with bad json": (b"{", "application/json", BINARY, 400, "invalid_json"),
    "binary with bad escape": (b"", None, {**BINARY, "ce-subject": "%zz"}, 400, "invalid_encoding"),
    "brotli": (event(), STRUCTURED, {"content-encoding": "br"}, 415, "unsupported_content_encoding"),
    "two codings": (
        event(),
        STRUCTURED,
        {"content-encoding": "gzip, gzip"},
        415,
        "unsupported_content_encoding",
    ),
    "no gzip": (event(), STRUCTURED, {"content-encoding": "gzip"}, 400, "invalid_encoding"),
    "gzip cut off": (
        gzip.compress(json.dumps(event()).encode())[:-9],
        STRUCTURED,
        {"content-encoding": "gzip"},
        400,
        "invalid_encoding",
    ),
    "gzip of many members": (
        gzip.compress(b"") * 17,
        STRUCTURED,
        {"content-encoding": "gzip"},
        400,
        "invalid_encoding",
    ),
    "batch that is none": (event(), BATCH, {}, 400, "invalid_cloudevent"),
}


@pytest.mark.parametrize("name", REFUSALS)
async def test_ingest_refuses(ask: Ask, store: Store, name: str) -> None:
    body, content_type, headers, status, code = REFUSALS[name]

    answer = await ask(body, content_type, headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert set(answer.json()) >= {"type", "title", "status", "detail", "code"}
    assert answer.json()["status"] == status
    assert store.log.head == 0


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "HEAD"])
async def test_ingest_refuses_other_methods_and_names_the_right_one(ask: Ask, method: str) -> None:
    answer = await ask(b"", method=method)

    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"


async def test_ingest_refuses_the_same_id_with_other_content(ask: Ask, store: Store) -> None:
    await ask(event("1", data=1))

    answer = await ask(event("1", data=2))

    assert (answer.status_code, answer.json()["code"]) == (409, "id_reused")
    assert store.log.head == 1


async def test_ingest_never_repeats_what_was_sent(ask: Ask) -> None:
    script = "<script>alert(1)</script>"

    answer = await ask(event("1", source=script, subject=script, time=script, **{script: script}))

    assert answer.status_code == 400
    assert "<script>" not in answer.text


async def test_ingest_refuses_a_batch_whole_and_names_every_event_to_blame(ask: Ask, store: Store) -> None:
    answer = await ask([event("1"), event(""), event("3"), event("4", type="dev.tidemill.x"), 5], BATCH)

    assert answer.status_code == 400
    problems = answer.json()["problems"]
    assert [(each["index"], each["code"]) for each in problems] == [
        (1, "invalid_cloudevent"),
        (3, "reserved_type"),
        (4, "invalid_cloudevent"),
    ]
    assert answer.json()["index"] == 1
    assert problems[0]["attribute"] == "id"
    assert store.log.head == 0


async def test_ingest_refuses_a_batch_whole_when_one_id_is_reused(ask: Ask, store: Store) -> None:
    await ask(event("2", data=1))

    answer = await ask([event("1"), event("2", data=2)], BATCH)

    assert (answer.status_code, answer.json()["code"]) == (409, "id_reused")
    assert store.log.head == 1


# ── limits, each at the last value that fits and the first that does not ──────────────────────────────────


@pytest.mark.parametrize(("over", "status"), [(-1, 202), (0, 202), (1, 413)])
@pytest.mark.parametrize("chunk_bytes", [1 << 20, 1000])
@pytest.mark.parametrize("is_gzip", [False, True])
async def test_ingest_limits_the_decoded_body(
    make_ingest: Callable[..., HttpIngest], over: int, status: int, chunk_bytes: int, is_gzip: bool
) -> None:
    limit = 4096
    body = padded(limit + over)
    content = gzip.compress(body, 0) if is_gzip else body
    fields = [(b"content-type", STRUCTURED.encode())]
    if is_gzip:
        fields.append((b"content-encoding", b"gzip"))
    starts = range(0, len(content), chunk_bytes)
    chunks = [
        {
            "type": "http.request",
            "body": content[start : start + chunk_bytes],
            "more_body": start + chunk_bytes < len(content),
        }
        for start in starts
    ]
    sent: list[Any] = []

    async def receive() -> Any:
        return chunks.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    await make_ingest(max_body_bytes=limit)(scope(fields), receive, send)

    assert sent[0]["status"] == status
    if status == 413:
        assert json.loads(sent[1]["body"])["code"] == "payload_too_large"
    assert chunks == []


@pytest.mark.parametrize(("over", "status"), [(-1, 202), (0, 202), (1, 413)])
async def test_ingest_limits_the_bytes_of_a_batch(ask: Ask, over: int, status: int) -> None:
    limit = 4096
    content = b"[%b]" % padded(limit - 2 + over)

    answer = await ask(content, BATCH, max_body_bytes=100, max_batch_bytes=limit)

    assert answer.status_code == status
    if status == 413:
        assert answer.json()["code"] == "batch_too_large"


@pytest.mark.parametrize(("count", "status"), [(4, 202), (5, 202), (6, 413)])
async def test_ingest_limits_the_events_of_a_batch(ask: Ask, count: int, status: int) -> None:
    answer = await ask([event(str(number)) for number in range(count)], BATCH, max_batch_events=5)

    assert answer.status_code == status
    if status == 413:
        assert answer.json()["code"] == "batch_too_large"


@pytest.mark.parametrize(("depth", "status"), [(63, 202), (64, 202), (65, 400)])
@pytest.mark.parametrize("mode", ["structured", "binary", "batch"])
async def test_ingest_limits_nesting_alike_in_every_mode(
    ask: Ask, depth: int, status: int, mode: str
) -> None:
    match mode:
        case "structured":
            answer = await ask(event(data=nested(depth)))
        case "binary":
            answer = await ask(nested(depth), "application/json", headers=BINARY)
        case _:
            answer = await ask([event(data=nested(depth))], BATCH)

    assert answer.status_code == status
    if status == 400:
        assert answer.json()["code"] == "json_too_deep"


@pytest.mark.parametrize(("size", "status"), [(8191, 202), (8192, 202), (8193, 400)])
@pytest.mark.parametrize("is_binary", [False, True])
async def test_ingest_limits_an_attribute(ask: Ask, size: int, status: int, is_binary: bool) -> None:
    subject = "s" * size

    answer = await (
        ask(b"", None, headers={**BINARY, "ce-subject": subject})
        if is_binary
        else ask(event(subject=subject))
    )

    assert answer.status_code == status


@pytest.mark.parametrize(("count", "status"), [(63, 202), (64, 202), (65, 400)])
async def test_ingest_limits_extensions(ask: Ask, count: int, status: int) -> None:
    extensions = {f"x{number}": number for number in range(count)}

    assert (await ask(event(**extensions))).status_code == status


@pytest.mark.parametrize(
    ("number", "status"), [(2**64 - 1, 202), (2**64, 400), (-(2**63), 202), (-(2**63) - 1, 400)]
)
async def test_ingest_keeps_integers_exact_or_refuses_them(ask: Ask, number: int, status: int) -> None:
    assert (await ask(event(data={"n": number}))).status_code == status


async def test_ingest_does_not_unpack_a_bomb(ask: Ask) -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(256)) + packer.flush()

    answer = await ask(bomb, headers={"content-encoding": "gzip"}, max_body_bytes=1 << 20)

    assert len(bomb) < 1 << 19
    assert (answer.status_code, answer.json()["code"]) == (413, "payload_too_large")


# ── what the surroundings do ──────────────────────────────────────────────────────────────────────────────


class BrokenLog:
    """A log that refuses for a reason of its own."""

    def __init__(self, error: Exception | None = None, *, overload: int | None = None) -> None:
        self._error = error
        self._overload = overload
        self.jobs: list[Append] = []

    def overload(self) -> int | None:
        return self._overload

    async def append(self, job: Append) -> list[Appended]:
        self.jobs.append(job)
        if self._error is not None:
            raise self._error
        return [Appended(position) for position in range(1, len(job.events) + 1)]


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (StoreUnavailable("EIO at /var/lib/secret.db"), 503, "store_unavailable"),
        (DiskFull("ENOSPC at /var/lib/secret.db"), 507, "disk_full"),
    ],
)
async def test_ingest_acknowledges_nothing_that_is_not_on_disk(
    ask: Ask, make_ingest: Callable[..., HttpIngest], error: Exception, status: int, code: str
) -> None:
    ingest = make_ingest(log=BrokenLog(error))

    answer = await ask(event(), ingest=ingest)

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert int(answer.headers["retry-after"]) >= 1
    assert "secret" not in answer.text
    assert ingest.status().accepted == 0
    assert ingest.status().state is SourceState.STALLED


async def test_ingest_turns_away_before_it_reads_when_the_backlog_is_full(
    make_ingest: Callable[..., HttpIngest],
) -> None:
    log = BrokenLog(overload=7)
    sent: list[Any] = []

    async def receive() -> Any:
        raise AssertionError("nothing may be read")

    async def send(message: Any) -> None:
        sent.append(message)

    await make_ingest(log=log)(scope(), receive, send)

    assert sent[0]["status"] == 429
    assert (b"retry-after", b"7") in sent[0]["headers"]
    assert json.loads(sent[1]["body"])["code"] == "backlog_full"
    assert log.jobs == []


async def test_ingest_answers_500_without_details_for_a_mistake_of_ours(
    ask: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await ask(event(), log=BrokenLog(ZeroDivisionError("secret")))

    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "ZeroDivision" not in answer.text
    assert [record.message for record in caplog.records if record.name.startswith("tidemill.")] == [
        "request.failed"
    ]


def scope(headers: Any = STRUCTURED_FIELDS, method: str = "POST") -> dict[str, Any]:
    return {
        "type": "http",
        "method": method,
        "path": "/events",
        "query_string": b"",
        "headers": list(headers),
    }


async def test_ingest_gives_up_on_a_body_that_does_not_end(make_ingest: Callable[..., HttpIngest]) -> None:
    log = BrokenLog()
    sent: list[Any] = []
    messages = [{"type": "http.request", "body": b"{", "more_body": True}]

    async def receive() -> Any:
        return messages.pop() if messages else await asyncio.get_running_loop().create_future()

    async def send(message: Any) -> None:
        sent.append(message)

    await make_ingest(log=log, body_timeout_seconds=0.01)(scope(), receive, send)

    assert sent[0]["status"] == 408
    assert (b"connection", b"close") in sent[0]["headers"]
    assert log.jobs == []


async def test_ingest_answers_nobody_when_the_client_left(make_ingest: Callable[..., HttpIngest]) -> None:
    log = BrokenLog()
    messages = [
        {"type": "http.disconnect"},
        {"type": "http.request", "body": json.dumps(event()).encode(), "more_body": True},
    ]

    async def receive() -> Any:
        return messages.pop()

    async def send(message: Any) -> None:
        raise AssertionError("nobody is there")

    await make_ingest(log=log)(scope(), receive, send)

    assert log.jobs == []


async def test_ingest_refuses_a_declared_size_without_reading(make_ingest: Callable[..., HttpIngest]) -> None:
    sent: list[Any] = []
    fields = [(b"content-type", STRUCTURED.encode()), (b"content-length", b"999999999999")]

    async def receive() -> Any:
        raise AssertionError("nothing may be read")

    async def send(message: Any) -> None:
        sent.append(message)

    await make_ingest(log=BrokenLog())(scope(fields), receive, send)

    assert sent[0]["status"] == 413
    assert (b"connection", b"close") in sent[0]["headers"]


async def test_ingest_keeps_no_more_of_a_too_large_body_than_the_limit(
    make_ingest: Callable[..., HttpIngest],
) -> None:
    sent: list[Any] = []
    asked = 0

    async def receive() -> Any:
        nonlocal asked
        asked += 1
        return {"type": "http.request", "body": bytes(1 << 20), "more_body": True}

    async def send(message: Any) -> None:
        sent.append(message)

    await make_ingest(log=BrokenLog(), max_body_bytes=1 << 20)(scope(), receive, send)

    assert sent[0]["status"] == 413
    assert asked < 20
