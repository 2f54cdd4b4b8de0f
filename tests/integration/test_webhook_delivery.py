"""Webhook deliveries to a real server that accepts, refuses, redirects, hangs, cuts and never ends."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import shutil
import ssl
import subprocess
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from standardwebhooks import Webhook
from tests.conformance.receiver import (
    Answer,
    endless_body,
    endless_head,
    half_a_head,
    hang,
    no_http,
    receiving,
    reset,
    status,
    stuck_body,
)

from tidemill.errors import SettingsError, SinkRefused, SinkUnavailable
from tidemill.events.event import Event, LoggedEvent
from tidemill.patterns.filters import compile_filters
from tidemill.project.model import Subscription, WebhookSink
from tidemill.sinks.dispatcher import Dispatcher
from tidemill.sinks.outgoing import Outgoing
from tidemill.sinks.webhook import WebhookSinkDelivery, parse_retry_after
from tidemill.storage.contract import Append, Delivery, DeliveryState, RouteBatch
from tidemill.storage.sqlite import open_store
from tidemill.testing.clock import ManualClock

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
EVENT = Event(
    id="42", source="/tidemill/dags/orders", type="dev.tidemill.run.succeeded.v1", data={"total": 7}
)
LOGGED = LoggedEvent(1, 1_700_000_000_000_000, EVENT)


async def fail(answer: Answer, *, timeout_seconds: float = 5.0) -> SinkUnavailable | SinkRefused:
    """Deliver once to a receiver with that answer; what the delivery raised."""
    async with receiving(answer) as receiver:
        sink = WebhookSinkDelivery(WebhookSink(url=receiver.url), SECRET, timeout_seconds=timeout_seconds)
        try:
            await sink.deliver(LOGGED, 1)
        except (SinkUnavailable, SinkRefused) as failure:
            assert len(receiver.received) == 1
            return failure
        finally:
            await sink.close()
    pytest.fail("the delivery was accepted")


# ── what is sent ──────────────────────────────────────────────────────────────────────────────────────────


async def test_structured_delivery_is_a_cloudevent_signed_as_standard_webhooks() -> None:
    async with receiving() as receiver:
        sink = WebhookSinkDelivery(WebhookSink(url=receiver.url), SECRET)
        await sink.deliver(LOGGED, 1)
        await sink.close()

    [request] = receiver.received
    assert (request.method, request.path) == ("POST", "/hook?x=1")
    assert request.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert request.headers["content-type"].startswith("application/cloudevents+json")
    assert request.headers["user-agent"].startswith("tidemill/")
    assert abs(int(request.headers["webhook-timestamp"]) - time.time()) < 10
    assert json.loads(request.body)["id"] == "42"
    Webhook(SECRET).verify(request.body, request.headers, json_parse=False)


async def test_binary_delivery_carries_the_data_and_is_signed_over_it() -> None:
    async with receiving() as receiver:
        sink = WebhookSinkDelivery(WebhookSink(url=receiver.url, mode="binary"), SECRET)
        await sink.deliver(LOGGED, 1)
        await sink.close()

    [request] = receiver.received
    assert json.loads(request.body) == {"total": 7}
    assert (request.headers["ce-id"], request.headers["content-type"]) == ("42", "application/json")
    Webhook(SECRET).verify(request.body, request.headers, json_parse=False)


async def test_bytes_that_are_no_text_are_delivered_in_binary_mode() -> None:
    event = Event(id="1", source="/s", type="t", datacontenttype="image/png", data=b"\x89PNG\xff\x00")
    async with receiving() as receiver:
        sink = WebhookSinkDelivery(WebhookSink(url=receiver.url, mode="binary"), SECRET)
        await sink.deliver(LoggedEvent(1, 0, event), 1)
        await sink.close()

    assert receiver.received[0].body == b"\x89PNG\xff\x00"
    assert receiver.received[0].headers["webhook-signature"].startswith("v1,")


async def test_delivery_without_a_secret_is_not_signed() -> None:
    async with receiving() as receiver:
        sink = WebhookSinkDelivery(WebhookSink(url=receiver.url))
        await sink.deliver(LOGGED, 1)
        await sink.close()

    assert "webhook-signature" not in receiver.received[0].headers
    assert receiver.received[0].headers["webhook-id"].startswith("msg_")


async def test_headers_of_the_sink_are_sent_and_replace_nothing_of_ours() -> None:
    mine = {
        "X-Team": "orders",
        "Webhook-Id": "forged",
        "Content-Type": "text/plain",
        "Webhook-Signature": "v1,x",
    }
    async with receiving() as receiver:
        sink = WebhookSinkDelivery(WebhookSink(url=receiver.url, headers=mine))
        await sink.deliver(LOGGED, 1)
        await sink.close()

    headers = receiver.received[0].headers
    assert headers["x-team"] == "orders"
    assert headers["webhook-id"] != "forged"
    assert headers["content-type"].startswith("application/cloudevents+json")
    assert "webhook-signature" not in headers


async def test_connection_is_used_again() -> None:
    async with receiving(status(200, body=b"thanks")) as receiver:
        sink = WebhookSinkDelivery(WebhookSink(url=receiver.url))
        for attempt in range(1, 6):
            await sink.deliver(LOGGED, attempt)
        await sink.close()

    assert len(receiver.received) == 5
    assert receiver.connections == 1


# ── what is answered ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("code", [404, 408, 409, 425, 429, 500, 502, 503, 504])
async def test_answer_that_time_may_cure_is_unavailable(code: int) -> None:
    failure = await fail(status(code, body=b"canary"))

    assert isinstance(failure, SinkUnavailable)
    assert (failure.status, failure.reason) == (code, f"the receiver answered {code}")


@pytest.mark.parametrize("code", [400, 401, 403, 405, 410, 413, 422])
async def test_answer_that_refuses_is_refused(code: int) -> None:
    failure = await fail(status(code, body=b"canary"))

    assert isinstance(failure, SinkRefused)
    assert failure.status == code
    assert failure.gone is (code == 410)


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
async def test_redirect_is_not_followed(code: int) -> None:
    async with receiving() as elsewhere:
        failure = await fail(status(code, f"location: {elsewhere.url}"))
        bad_location = await fail(status(code, "location: http://[::bad"))

    assert isinstance(failure, SinkRefused)
    assert isinstance(bad_location, SinkRefused)
    assert failure.status == code
    assert elsewhere.received == []
    assert elsewhere.connections == 0


async def test_retry_after_is_handed_on() -> None:
    failure = await fail(status(429, "retry-after: 120"))

    assert isinstance(failure, SinkUnavailable)
    assert failure.retry_after == 120


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("0", 0),
        (" 30 ", 30),
        ("Mon, 01 Jan 2024 00:01:30 GMT", 90),
        ("Sun, 31 Dec 2023 00:00:00 GMT", 0),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("٣", None),
        ("9" * 100, None),
        ("Mon, 99 Jan 2024 00:01:30 GMT", None),
        ("Mon, 01 Jan 2024 00:01:30 -0000", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value, now_us=1_704_067_200_000_000) == seconds


# ── receivers that misbehave ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("answer", [hang, endless_head], ids=["hang", "endless_head"])
async def test_receiver_that_never_answers_costs_the_deadline_and_no_more(answer: Answer) -> None:
    started = time.monotonic()

    failure = await fail(answer, timeout_seconds=0.2)

    assert isinstance(failure, SinkUnavailable)
    assert time.monotonic() - started < 5


async def test_sinks_own_timeout_holds_before_the_callers() -> None:
    async with receiving(hang) as receiver:
        spec = WebhookSink(url=receiver.url, timeout=timedelta(milliseconds=50))
        sink = WebhookSinkDelivery(spec, timeout_seconds=60)
        with pytest.raises(SinkUnavailable, match=r"within 0\.05 s"):
            await sink.deliver(LOGGED, 1)
        await sink.close()


@pytest.mark.parametrize("answer", [reset, half_a_head, no_http], ids=["reset", "half_a_head", "no_http"])
async def test_receiver_that_breaks_off_is_unavailable(answer: Answer) -> None:
    failure = await fail(answer)

    assert isinstance(failure, SinkUnavailable)
    assert failure.status is None
    assert "canary" not in str(failure)


@pytest.mark.parametrize(
    ("answer", "body_seconds"),
    [(endless_body, 600), (stuck_body, 0.1)],
    ids=["ended_by_the_cap_of_bytes", "ended_by_the_cap_of_time"],
)
async def test_accepted_delivery_does_not_wait_for_a_body_without_end(
    answer: Answer, body_seconds: float
) -> None:
    async with receiving(answer) as receiver, asyncio.timeout(10):
        sink = WebhookSinkDelivery(WebhookSink(url=receiver.url), client=Outgoing(body_seconds=body_seconds))
        await sink.deliver(LOGGED, 1)
        receiver.otherwise = status(204)
        await sink.deliver(LOGGED, 2)
        await sink.close()

    assert receiver.connections == 2


async def test_delivery_that_is_cancelled_lets_the_next_one_through() -> None:
    async with receiving(hang) as receiver:
        sink = WebhookSinkDelivery(WebhookSink(url=receiver.url))
        hanging = asyncio.create_task(sink.deliver(LOGGED, 1))
        await receiver.wait_for(1)
        hanging.cancel()
        await asyncio.wait([hanging])
        receiver.otherwise = status(204)
        await sink.deliver(LOGGED, 2)
        await sink.close()

    assert hanging.cancelled()
    assert len(receiver.received) == 2


# ── where it goes ─────────────────────────────────────────────────────────────────────────────────────────


def answering(*addresses: str) -> Outgoing:
    """Connections that find every name at `addresses`."""

    async def resolver(host: str, port: int) -> Sequence[str]:
        return addresses

    return Outgoing(resolver=resolver)


async def test_name_is_resolved_once_and_kept_in_the_host_header() -> None:
    asked: list[str] = []

    async def resolver(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return ["127.0.0.1"]

    async with receiving() as receiver:
        url = f"http://receiver.example:{receiver.port}/"
        sink = WebhookSinkDelivery(WebhookSink(url=url), client=Outgoing(resolver=resolver))
        await sink.deliver(LOGGED, 1)
        await sink.deliver(LOGGED, 2)
        await sink.close()

    assert asked == ["receiver.example"]
    assert receiver.received[0].headers["host"] == f"receiver.example:{receiver.port}"


@pytest.mark.parametrize(
    "addresses",
    [["169.254.169.254"], ["127.0.0.1", "169.254.169.254"], ["0.0.0.0"], ["fe80::1"], ["::ffff:0.0.0.0"]],
)
async def test_nothing_is_sent_when_one_address_is_refused(addresses: list[str]) -> None:
    async with receiving() as receiver:
        url = f"http://receiver.example:{receiver.port}/"
        sink = WebhookSinkDelivery(WebhookSink(url=url), client=answering(*addresses))
        with pytest.raises(SinkUnavailable, match="where nothing is delivered"):
            await sink.deliver(LOGGED, 1)
        await sink.close()

    assert receiver.connections == 0


@pytest.mark.parametrize("host", ["0.0.0.0", "169.254.169.254", "[::]", "0", "[::ffff:169.254.169.254]"])
async def test_address_in_the_url_is_checked_as_well(host: str) -> None:
    async with receiving() as receiver:
        sink = WebhookSinkDelivery(WebhookSink(url=f"http://{host}:{receiver.port}/"))
        with pytest.raises(SinkUnavailable, match="where nothing is delivered"):
            await sink.deliver(LOGGED, 1)
        await sink.close()

    assert receiver.connections == 0


async def test_second_address_is_tried_when_the_first_does_not_connect() -> None:
    async with receiving() as receiver:
        url = f"http://receiver.example:{receiver.port}/"
        sink = WebhookSinkDelivery(
            WebhookSink(url=url), client=answering("127.0.0.9", "127.0.0.1", "127.0.0.8")
        )
        await sink.deliver(LOGGED, 1)
        await sink.deliver(LOGGED, 2)
        await sink.close()

    assert len(receiver.received) == 2
    assert receiver.connections == 1


async def test_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with receiving() as receiver, receiving() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        sink = WebhookSinkDelivery(WebhookSink(url=receiver.url))
        await sink.deliver(LOGGED, 1)
        await sink.close()

    assert len(receiver.received) == 1
    assert proxy.connections == 0


@pytest.mark.parametrize(
    "url",
    [
        "ftp://receiver.example/",
        "file:///etc/passwd",
        "receiver.example",
        "http://",
        "http://[::bad/",
        "http://u:p@h/",
    ],
)
def test_url_that_is_not_http_to_a_host_is_refused_at_start(url: str) -> None:
    with pytest.raises(SettingsError):
        WebhookSinkDelivery(WebhookSink(url=url))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Key and certificate of `receiver.example`, signed by itself, in one file."""
    if shutil.which("openssl") is None and "CI" not in os.environ:
        pytest.skip("no openssl to make a certificate with")
    path = tmp_path_factory.mktemp("tls") / "receiver.pem"
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=receiver"
    )
    names = ["-addext", "subjectAltName=DNS:receiver.example", "-keyout", str(path), "-out", f"{path}.crt"]
    subprocess.run([*command.split(), *names], check=True, capture_output=True)
    path.write_text(path.read_text() + Path(f"{path}.crt").read_text())
    return path


@pytest.mark.parametrize(
    ("name", "reached"),
    [("receiver.example", True), ("other.example", False)],
    ids=["its_name", "another_name"],
)
async def test_https_checks_the_name_although_an_address_is_dialled(
    certificate: Path, name: str, reached: bool
) -> None:
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(certificate)
    seen: list[str | None] = []
    server_side.sni_callback = lambda tls, server_name, context: seen.append(server_name)

    async def resolver(host: str, port: int) -> Sequence[str]:
        return ["127.0.0.1"]

    async with receiving(tls=server_side) as receiver:
        client = Outgoing(resolver=resolver, tls=ssl.create_default_context(cafile=f"{certificate}.crt"))
        sink = WebhookSinkDelivery(WebhookSink(url=f"https://{name}:{receiver.port}/"), client=client)
        if reached:
            await sink.deliver(LOGGED, 1)
        else:
            with pytest.raises(SinkUnavailable, match="certificate"):
                await sink.deliver(LOGGED, 1)
        await sink.close()

    assert seen == [name]
    assert len(receiver.received) == int(reached)


async def test_unknown_authority_is_not_accepted(certificate: Path) -> None:
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(certificate)

    async with receiving(tls=server_side) as receiver:
        url = f"https://receiver.example:{receiver.port}/"
        sink = WebhookSinkDelivery(WebhookSink(url=url), client=answering("127.0.0.1"))
        with pytest.raises(SinkUnavailable, match="certificate"):
            await sink.deliver(LOGGED, 1)
        await sink.close()

    assert receiver.received == []


# ── with the dispatcher and a real store ──────────────────────────────────────────────────────────────────


async def test_failing_receiver_gets_the_same_id_until_it_accepts(tmp_path: Path) -> None:
    clock = ManualClock()
    store = await open_store(tmp_path / "tidemill.db", clock=clock)
    await store.log.append(Append(events=[EVENT]))
    on_the_way = [Delivery(subscription="orders", position=1)]
    await store.runs.route(RouteBatch(expected=0, cursor=1, deliveries=on_the_way))
    outcomes: asyncio.Queue[str] = asyncio.Queue()

    async with receiving() as receiver:
        receiver.answers = [status(500), status(429, "retry-after: 900"), reset]
        spec = WebhookSink(url=receiver.url)
        rule = compile_filters([{"prefix": {"type": "dev.tidemill."}}])
        sink = WebhookSinkDelivery(spec, SECRET, clock=clock)
        dispatcher = Dispatcher(
            [Subscription(name="orders", rule=rule, sink=spec)],
            {"orders": sink},
            log=store.log,
            outbox=store.outbox,
            clock=clock,
            chance=lambda: 0.5,
            count=lambda name, outcome: outcomes.put_nowait(outcome),
        )
        running = asyncio.create_task(dispatcher.run())
        for seconds in (5, 900, 1_800):
            assert await outcomes.get() == "failed"
            clock.advance(seconds)
        assert await outcomes.get() == "delivered"
        running.cancel()
        await asyncio.wait([running])
        await sink.close()

    assert len(receiver.received) == 4
    assert len({request.headers["webhook-id"] for request in receiver.received}) == 1
    sent_at = [int(request.headers["webhook-timestamp"]) for request in receiver.received]
    assert [later - sent_at[0] for later in sent_at] == [0, 5, 905, 2_705]
    assert await store.outbox.list(1) == [("orders", DeliveryState.DELIVERED, 4, "")]
    await store.close()


async def test_secret_and_data_are_in_no_log_line_and_no_error(caplog: pytest.LogCaptureFixture) -> None:
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    caplog.set_level(logging.DEBUG)

    failures = [await fail(answer, timeout_seconds=0.2) for answer in (status(401), reset, hang)]

    text = " ".join([*map(repr, failures), caplog.text, *(str(record.__dict__) for record in caplog.records)])
    for secret in (SECRET, SECRET.removeprefix("whsec_"), key.hex(), str(EVENT.data)):
        assert secret not in text
