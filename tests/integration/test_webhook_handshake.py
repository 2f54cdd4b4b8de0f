"""Asking a receiver for its consent (HTTP webhooks, section 4), and names that change their addresses meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from tests.conformance.receiver import Answer, hang, receiving, reset, status

from tidemill.errors import SinkRefused, SinkUnavailable
from tidemill.events.event import Event, LoggedEvent
from tidemill.project.model import WebhookSink
from tidemill.sinks import addresses
from tidemill.sinks.handshake import AGREED_SECONDS, Handshake
from tidemill.sinks.outgoing import Outgoing
from tidemill.sinks.webhook import WebhookSinkDelivery
from tidemill.testing.clock import ManualClock

ORIGIN = "events.example.com"
LOGGED = LoggedEvent(1, 0, Event(id="1", source="/shop", type="order.placed", data={"n": 1}))


def consent(origin: str = ORIGIN, rate: str = "*", code: int = 200) -> Answer:
    return status(code, f"webhook-allowed-origin: {origin}", f"webhook-allowed-rate: {rate}", "allow: POST")


def sink_to(url: str, clock: ManualClock, *, timeout_seconds: float = 5.0) -> WebhookSinkDelivery:
    handshake = Handshake(url, origin=ORIGIN, clock=clock)
    return WebhookSinkDelivery(
        WebhookSink(url=url), handshake=handshake, clock=clock, timeout_seconds=timeout_seconds
    )


@pytest.mark.parametrize("answer", [consent(), consent("*"), consent(code=405)], ids=["origin", "any", "405"])
async def test_receiver_is_asked_once_and_then_delivered_to_with_our_name(answer: Answer) -> None:
    clock = ManualClock()
    async with receiving() as receiver:
        receiver.answers = [answer]
        sink = sink_to(receiver.url, clock)
        await asyncio.gather(*(sink.deliver(LOGGED, 1) for _ in range(5)))
        await sink.close()

    asked, *delivered = receiver.received
    assert (asked.method, asked.path, asked.body) == ("OPTIONS", "/hook?x=1", b"")
    assert asked.headers["webhook-request-origin"] == ORIGIN
    assert int(asked.headers["webhook-request-rate"]) > 0
    assert [one.method for one in delivered] == ["POST"] * 5
    assert {one.headers["webhook-request-origin"] for one in delivered} == {ORIGIN}


@pytest.mark.parametrize(
    "answer",
    [
        status(200, "allow: POST, OPTIONS"),
        status(204),
        status(405),
        consent("other.example.com"),
        status(302, "location: http://127.0.0.1:9/"),
    ],
    ids=["allow", "no_content", "not_allowed", "other_origin", "redirect"],
)
async def test_no_status_is_consent_and_nothing_is_delivered_without_it(answer: Answer) -> None:
    async with receiving(answer) as receiver:
        sink = sink_to(receiver.url, ManualClock())
        with pytest.raises(SinkRefused, match="consent") as refused:
            await sink.deliver(LOGGED, 1)
        await sink.close()

    assert refused.value.status is not None
    assert not refused.value.gone
    assert [one.method for one in receiver.received] == ["OPTIONS"]


@pytest.mark.parametrize(
    "answer", [hang, reset, status(503), status(429)], ids=["hang", "reset", "503", "429"]
)
async def test_receiver_that_cannot_be_asked_now_is_asked_again_later(answer: Answer) -> None:
    async with receiving(status(204)) as receiver:
        receiver.answers = [answer, consent()]
        sink = sink_to(receiver.url, ManualClock(), timeout_seconds=0.3)
        with pytest.raises(SinkUnavailable):
            await sink.deliver(LOGGED, 1)
        await sink.deliver(LOGGED, 2)
        await sink.close()

    assert [one.method for one in receiver.received] == ["OPTIONS", "OPTIONS", "POST"]


async def test_consent_is_asked_for_again_after_its_time() -> None:
    clock = ManualClock()
    async with receiving() as receiver:
        receiver.answers = [consent(), status(204), status(204), status(405)]
        sink = sink_to(receiver.url, clock)
        await sink.deliver(LOGGED, 1)
        clock.advance(AGREED_SECONDS - 1)
        await sink.deliver(LOGGED, 1)
        clock.advance(1)
        with pytest.raises(SinkRefused):
            await sink.deliver(LOGGED, 1)
        await sink.close()

    assert [one.method for one in receiver.received] == ["OPTIONS", "POST", "POST", "OPTIONS"]


async def test_rate_that_the_receiver_allows_is_kept_to() -> None:
    clock = ManualClock()
    async with receiving() as receiver:
        receiver.answers = [consent(rate="60")]
        sink = sink_to(receiver.url, clock)
        deliveries = [asyncio.ensure_future(sink.deliver(LOGGED, 1)) for _ in range(3)]
        sent = []
        for _ in range(3):
            await receiver.wait_for(2 + len(sent))
            await asyncio.sleep(0.05)
            sent.append(len(receiver.received) - 1)
            clock.advance(1)
        await asyncio.gather(*deliveries)
        await sink.close()

    assert sent == [1, 2, 3]


async def test_name_that_moves_to_a_private_address_between_two_deliveries_is_not_followed() -> None:
    answers = [["127.0.0.1"], ["127.0.0.1", "10.0.0.1"]]
    asked: list[str] = []

    async def rebinding(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return answers.pop(0)

    def guarded(address: str) -> bool:
        """Stands for the public internet in a test that has loopback only."""
        return address == "127.0.0.1" or addresses.is_public(address)

    async with receiving() as receiver:
        client = Outgoing(resolver=rebinding, allows=guarded)
        url = f"http://receiver.example:{receiver.port}/"
        sink = WebhookSinkDelivery(WebhookSink(url=url), client=client)
        await sink.deliver(LOGGED, 1)
        assert receiver.received[0].headers["host"] == f"receiver.example:{receiver.port}"
        await client.close()  # what was resolved is forgotten with the connections
        with pytest.raises(SinkUnavailable, match=r"10\.0\.0\.1"):
            await sink.deliver(LOGGED, 2)
        await sink.close()

    assert len(receiver.received) == 1
    assert asked == ["receiver.example", "receiver.example"]


async def test_guarded_sink_does_not_reach_loopback() -> None:
    async with receiving() as receiver:
        sink = WebhookSinkDelivery(WebhookSink(url=receiver.url), allows=addresses.is_public)
        with pytest.raises(SinkUnavailable, match=r"127\.0\.0\.1"):
            await sink.deliver(LOGGED, 1)
        await sink.close()

    assert receiver.connections == 0
