"""Which hosts subscriptions made by API may name, and how their sinks are guarded."""

from __future__ import annotations

import pytest
from tests.conformance.receiver import receiving

from tidemill.clock import SystemClock
from tidemill.errors import SinkRefused, SinkUnavailable
from tidemill.events.event import Event, LoggedEvent
from tidemill.project.made import build_made
from tidemill.project.model import WebhookSink
from tidemill.service.sinks import reaches, webhook_sink
from tidemill.settings import Settings

LOGGED = LoggedEvent(1, 0, Event(id="1", source="/shop", type="order.placed"))


@pytest.mark.parametrize(
    ("host", "allowed", "may"),
    [
        ("receiver.example", None, True),
        ("93.184.216.34", None, True),
        ("localhost", None, False),
        ("api.localhost", None, False),
        ("LOCALHOST.", None, False),
        ("127.0.0.1", None, False),
        ("10.0.0.1", None, False),
        ("169.254.169.254", None, False),
        ("::1", None, False),
        ("::ffff:10.0.0.1", None, False),
        ("127.0.0.1", "127.0.0.1, *.internal", True),
        ("a.internal", "127.0.0.1, *.internal", True),
        ("10.0.0.1", "127.0.0.1, *.internal", False),
    ],
)
def test_host_is_refused_where_its_text_says_that_it_is_not_public(
    host: str, allowed: str | None, may: bool
) -> None:
    assert reaches(host, Settings(delivery_allowed_hosts=allowed)) is may


async def test_made_sink_neither_asks_nor_reaches_loopback_unless_it_is_allowed_by_name() -> None:
    async with receiving() as receiver:
        written = {"sink": receiver.url, "protocol": "HTTP"}
        spec = build_made("a", written).sink
        assert isinstance(spec, WebhookSink)
        for allowed, failure in ((None, SinkUnavailable), ("127.0.0.1", None)):
            settings = Settings(delivery_allowed_hosts=allowed)
            sink = webhook_sink(spec, (), clock=SystemClock(), settings=settings)
            if failure is None:
                await sink.deliver(LOGGED, 1)
            else:
                with pytest.raises(failure, match=r"127\.0\.0\.1"):
                    await sink.deliver(LOGGED, 1)
            await sink.close()

    assert [one.method for one in receiver.received] == ["POST"]


async def test_project_sink_asks_where_its_definition_says_so_and_reaches_loopback() -> None:
    async with receiving() as receiver:
        for handshake in (False, True):
            spec = WebhookSink(url=receiver.url, handshake=handshake)
            settings = Settings(delivery_origin="events.example.com")
            sink = webhook_sink(spec, None, clock=SystemClock(), settings=settings)
            if handshake:
                with pytest.raises(SinkRefused, match="consent"):
                    await sink.deliver(LOGGED, 1)
            else:
                await sink.deliver(LOGGED, 1)
            await sink.close()

    assert [one.method for one in receiver.received] == ["POST", "OPTIONS"]
    assert receiver.received[1].headers["webhook-request-origin"] == "events.example.com"
