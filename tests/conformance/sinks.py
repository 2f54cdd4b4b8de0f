"""The sink conformance suite: what every sink promises, wherever it delivers to.

A sink takes part by an adapter (`SinkAdapter`) and a class:

    class TestWebhook(SinkConformance):
        @pytest.fixture
        async def adapter(self): ...

The store is a real one; so is the receiver.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol

import pytest
from tests.conformance.databases import DATABASES, opened

from tidemill.clock import SystemClock
from tidemill.errors import SinkRefused, SinkUnavailable
from tidemill.events.event import Event, LoggedEvent
from tidemill.patterns.filters import compile_filters
from tidemill.project.model import KafkaSink, Subscription, WebhookSink
from tidemill.sinks.contract import Sink
from tidemill.sinks.dispatcher import Dispatcher
from tidemill.storage.contract import Append, Delivery, DeliveryState, RouteBatch, Store

#: Longest wait for anything, in seconds; only failing tests wait so long.
PATIENCE = 30.0
CANARY = "canary-in-the-data"


class SinkAdapter(Protocol):
    """The outside of one sink, as a test sees it. One adapter stands for one receiver."""

    @property
    def spec(self) -> WebhookSink | KafkaSink:
        """What a subscription to this receiver says."""

    def build(self) -> Sink:
        """A new sink to the receiver, as after a restart of the process."""

    def build_unavailable(self) -> Sink:
        """A sink whose receiver cannot be reached."""

    def build_refused(self) -> Sink:
        """A sink whose receiver refuses every delivery for good."""

    async def received(self, count: int) -> list[tuple[str, Event]]:
        """(message identity, event) of all that the receiver took, in order, once it is `count` or more.

        The identity is what a receiver recognises a repeated delivery by.
        """


def logged(position: int = 1, **attributes: str) -> LoggedEvent:
    """An event as it stands in the log."""
    values = {
        "id": f"e{position}",
        "source": "/tidemill/dags/orders",
        "type": "dev.tidemill.run.succeeded.v1",
    }
    event = Event(**values | attributes, data={"text": CANARY, "n": position}, extensions={"hopcount": 2})
    return LoggedEvent(position, 1_700_000_000_000_000, event)


class SinkConformance:
    """The suite."""

    @pytest.fixture
    async def sink(self, adapter: SinkAdapter) -> AsyncIterator[Sink]:
        sink = adapter.build()
        yield sink
        await sink.close()

    @pytest.fixture(params=DATABASES)
    async def store(self, request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
        async with opened(request, tmp_path, SystemClock()) as store:
            yield store

    async def test_delivered_event_arrives_whole(self, adapter: SinkAdapter, sink: Sink) -> None:
        sent = logged(subject="run-7", time="2024-05-01T10:00:00Z")

        await sink.deliver(sent, 1)

        [(_, event)] = await adapter.received(1)
        assert event.data == sent.event.data
        assert (event.id, event.source, event.type, event.subject, event.time) == (
            sent.event.id,
            sent.event.source,
            sent.event.type,
            sent.event.subject,
            sent.event.time,
        )
        assert int(event.extensions["hopcount"]) == 2

    async def test_identity_is_constant_over_attempts_and_restarts(
        self, adapter: SinkAdapter, sink: Sink
    ) -> None:
        await sink.deliver(logged(), 1)
        await sink.deliver(logged(), 2)
        restarted = adapter.build()
        await restarted.deliver(logged(), 3)
        await restarted.deliver(logged(2), 1)
        await restarted.close()

        identities = [identity for identity, _ in await adapter.received(4)]
        assert len(identities) == 4
        assert len(set(identities[:3])) == 1
        assert identities[3] != identities[0]

    async def test_deliveries_at_once_all_arrive(self, adapter: SinkAdapter, sink: Sink) -> None:
        async with asyncio.TaskGroup() as group:
            for position in range(1, 21):
                group.create_task(sink.deliver(logged(position), 1))

        arrived = await adapter.received(20)
        assert sorted(event.data["n"] for _, event in arrived) == list(range(1, 21))

    async def test_receiver_out_of_reach_is_unavailable(self, adapter: SinkAdapter) -> None:
        sink = adapter.build_unavailable()

        with pytest.raises(SinkUnavailable) as caught:
            await sink.deliver(logged(), 1)

        await sink.close()
        assert CANARY not in str(caught.value)
        assert len(caught.value.reason) <= 200

    async def test_refusal_is_told_and_nothing_is_taken(self, adapter: SinkAdapter) -> None:
        sink = adapter.build_refused()

        with pytest.raises(SinkRefused) as caught:
            await sink.deliver(logged(), 1)

        await sink.close()
        assert CANARY not in str(caught.value)
        assert not caught.value.gone

    async def test_close_is_idempotent(self, adapter: SinkAdapter) -> None:
        unused, used = adapter.build(), adapter.build()
        await used.deliver(logged(), 1)

        for sink in (unused, used):
            await sink.close()
            await sink.close()

        assert len(await adapter.received(1)) == 1

    async def test_accepted_delivery_is_not_repeated_after_its_mark(
        self, adapter: SinkAdapter, store: Store
    ) -> None:
        await _put_on_way(store, 1, 2, 3)
        await _deliver(store, adapter, 3)
        await _put_on_way(store, 4)
        await _deliver(store, adapter, 1)

        events = [event for _, event in await adapter.received(4)]
        assert [event.id for event in events] == ["e1", "e2", "e3", "e4"]
        assert await store.outbox.list(1) == [("orders", DeliveryState.DELIVERED, 1, "")]


async def _put_on_way(store: Store, *positions: int) -> None:
    await store.log.append(Append(events=[logged(position).event for position in positions]))
    deliveries = [Delivery(subscription="orders", position=position) for position in positions]
    batch = RouteBatch(expected=positions[0] - 1, cursor=positions[-1], deliveries=deliveries)
    await store.runs.route(batch)


async def _deliver(store: Store, adapter: SinkAdapter, count: int) -> None:
    """Run a dispatcher until it has settled `count` deliveries, as one life of the service would."""
    rule = compile_filters([{"prefix": {"type": "dev.tidemill."}}])
    subscription = Subscription(name="orders", rule=rule, sink=adapter.spec, ordered=True)
    sink = adapter.build()
    settled = asyncio.Semaphore(0)
    dispatcher = Dispatcher(
        [subscription],
        {"orders": sink},
        log=store.log,
        outbox=store.outbox,
        clock=SystemClock(),
        count=lambda name, outcome: settled.release(),
    )
    task = asyncio.create_task(dispatcher.run())
    try:
        async with asyncio.timeout(PATIENCE):
            for _ in range(count):
                await settled.acquire()
    finally:
        task.cancel()
        await asyncio.wait([task])
        await sink.close()
