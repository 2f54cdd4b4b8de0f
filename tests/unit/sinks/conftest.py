"""A real store under virtual time, and sinks that follow a script."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from tidemill.errors import StoreUnavailable
from tidemill.events.event import Event, LoggedEvent
from tidemill.patterns.filters import compile_filters
from tidemill.project.model import Subscription, WebhookSink
from tidemill.sinks.dispatcher import Dispatcher
from tidemill.storage.contract import (
    Append,
    DeadLetter,
    Delivery,
    DeliveryAttempt,
    DeliveryMark,
    DeliveryState,
    EventLog,
    Outbox,
    RouteBatch,
    Store,
)
from tidemill.storage.sqlite import open_store
from tidemill.testing.clock import ManualClock


class Signals:
    """Things that happened, in order, for which a test can wait."""

    def __init__(self) -> None:
        self._changed = asyncio.Condition()

    async def notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def wait_for(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(10), self._changed:
            await self._changed.wait_for(holds)


class ScriptedSink:
    """A receiver that remembers what it was given; `answer` says which exception to raise, if any."""

    def __init__(self, answer: Callable[[int, int], Exception | None] | None = None) -> None:
        self._answer = answer
        self._signals = Signals()
        self.open = asyncio.Event()
        self.open.set()
        #: (position, attempt) of every delivery that began.
        self.begun: list[tuple[int, int]] = []
        #: Positions that were accepted.
        self.accepted: list[int] = []
        self.under_way = 0
        self.most_under_way = 0

    async def deliver(self, logged: LoggedEvent, attempt: int) -> None:
        self.begun.append((logged.position, attempt))
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        await self._signals.notify()
        try:
            await self.open.wait()
            failure = self._answer(logged.position, attempt) if self._answer else None
            if failure is not None:
                raise failure
            self.accepted.append(logged.position)
        finally:
            self.under_way -= 1
            await self._signals.notify()

    async def close(self) -> None:
        pass

    async def wait_for_attempts(self, count: int) -> None:
        await self._signals.wait_for(lambda: len(self.begun) >= count)

    async def wait_for_accepted(self, count: int) -> None:
        await self._signals.wait_for(lambda: len(self.accepted) >= count)


class WatchedOutbox:
    """The real outbox; counts writes, can be made to fail, and tells when marks are on disk."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._signals = Signals()
        self.failures = 0
        self.writes: list[list[DeliveryMark]] = []
        self.refused_writes = 0
        self.pages = 0

    async def due(self, subscription: str, *, after: int, limit: int) -> list[Delivery]:
        self.pages += 1
        return await self._outbox.due(subscription, after=after, limit=limit)

    async def mark(
        self,
        marks: Sequence[DeliveryMark],
        dead_letters: Sequence[DeadLetter] = (),
        *,
        attempts: Sequence[DeliveryAttempt] = (),
        disabled: Mapping[str, str] | None = None,
    ) -> None:
        if self.failures:
            self.failures -= 1
            self.refused_writes += 1
            await self._signals.notify()
            raise StoreUnavailable("the disk is gone")
        await self._outbox.mark(marks, dead_letters, attempts=attempts, disabled=disabled)
        self.writes.append(list(marks))
        await self._signals.notify()

    async def wait_for_delivery(self, subscription: str, after: int) -> None:
        await self._outbox.wait_for_delivery(subscription, after)

    @property
    def marks(self) -> list[DeliveryMark]:
        return [mark for write in self.writes for mark in write]

    async def wait_for_marks(self, count: int) -> None:
        await self._signals.wait_for(lambda: len(self.marks) >= count)

    async def wait_for_refused_writes(self, count: int) -> None:
        await self._signals.wait_for(lambda: self.refused_writes >= count)

    async def list(self, position: int) -> list[tuple[str, DeliveryState, int, str]]:
        return await self._outbox.list(position)


class Bench:
    """A store with deliveries in it, and dispatchers over it."""

    def __init__(self, store: Store, clock: ManualClock) -> None:
        self.store = store
        self.clock = clock
        self.outbox = WatchedOutbox(store.outbox)
        self._routed = 0

    @property
    def log(self) -> EventLog:
        return self.store.log

    async def send(self, count: int, *subscriptions: str) -> list[int]:
        """Log `count` events and put each on its way to every one of `subscriptions`."""
        events = [
            Event(
                id=str(self.log.head + 1 + place),
                source="/tests",
                type="dev.example.done.v1",
                data={"n": place},
            )
            for place in range(count)
        ]
        appended = await self.log.append(Append(events=events))
        positions = [answer.position for answer in appended]
        deliveries = [Delivery(subscription=name, position=at) for at in positions for name in subscriptions]
        batch = RouteBatch(expected=self._routed, cursor=positions[-1], deliveries=deliveries)
        await self.store.runs.route(batch)
        self._routed = positions[-1]
        return positions

    def dispatcher(self, *sinks: tuple[Subscription, ScriptedSink], **options: object) -> Dispatcher:
        by_name = {subscription.name: sink for subscription, sink in sinks}
        settings = {"chance": lambda: 0.5, "drain_seconds": 5.0, "clock": self.clock, **options}
        return Dispatcher(
            [subscription for subscription, _ in sinks],
            by_name,
            log=self.log,
            outbox=self.outbox,
            **settings,  # type: ignore[arg-type]
        )

    def running(self, dispatcher: Dispatcher) -> AbstractAsyncContextManager[asyncio.Task[None]]:
        """Run `dispatcher` for as long as the block lasts."""
        return _running(dispatcher)


@asynccontextmanager
async def _running(dispatcher: Dispatcher) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(dispatcher.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            await task


def subscription_to(name: str, *, ordered: bool = False, max_attempts: int = 10) -> Subscription:
    return Subscription(
        name=name,
        rule=compile_filters([{"prefix": {"type": "dev."}}]),
        sink=WebhookSink(url="http://receiver.example/"),
        ordered=ordered,
        max_attempts=max_attempts,
    )


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def store(tmp_path: Path, clock: ManualClock) -> AsyncIterator[Store]:
    store = await open_store(tmp_path / "tidemill.db", clock=clock)
    yield store
    await store.close()


@pytest.fixture
def bench(store: Store, clock: ManualClock) -> Bench:
    return Bench(store, clock)


@pytest.fixture
def subscribe() -> Callable[..., Subscription]:
    return subscription_to


@pytest.fixture
def scripted() -> type[ScriptedSink]:
    return ScriptedSink
