"""Gates and redrives in a dispatcher over a real store: what is closed starts nothing and loses nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import orjson

from tidemill.errors import SinkRefused, StoreUnavailable
from tidemill.events.event import Event
from tidemill.events.lifecycle import subscription_changed
from tidemill.project.model import Subscription
from tidemill.sinks.gate import Gate
from tidemill.sinks.roster import Roster
from tidemill.storage.contract import (
    ActionKind,
    DeliveryState,
    LetterAction,
    MadeSubscription,
    SubscriptionState,
    SubscriptionStatus,
)

Subscribe = Callable[..., Subscription]
GONE = SinkRefused("the receiver answered 410", status=410, gone=True)


def status(state: SubscriptionState, redriven: int = 0) -> SubscriptionStatus:
    return SubscriptionStatus("s", state, "", "", 0, redriven)


async def test_gate_that_was_not_told_of_is_closed_and_opens_when_it_is(
    bench: Any, subscribe: Subscribe, scripted: Any
) -> None:
    sink, gate = scripted(), Gate(known=False)
    dispatcher = bench.dispatcher((subscribe("s"), sink), gates={"s": gate})
    async with bench.running(dispatcher):
        await bench.send(3, "s")
        await asyncio.sleep(0.05)
        assert (sink.begun, gate.state, dispatcher.status()[0].state) == ([], "starting", "starting")
        gate.tell(None)
        await sink.wait_for_accepted(3)


async def test_paused_lane_starts_nothing_and_ends_what_it_has_begun(
    bench: Any, subscribe: Subscribe, scripted: Any
) -> None:
    sink, gate = scripted(), Gate()
    sink.open.clear()
    async with bench.running(bench.dispatcher((subscribe("s"), sink), gates={"s": gate}, concurrency=2)):
        await bench.send(5, "s")
        await sink.wait_for_attempts(2)
        gate.tell(status(SubscriptionState.PAUSED))
        sink.open.set()
        await sink.wait_for_accepted(2)
        await bench.outbox.wait_for_marks(2)
        await asyncio.sleep(0.05)
        assert len(sink.begun) == 2
        gate.tell(status(SubscriptionState.ACTIVE))
        await sink.wait_for_accepted(5)


async def test_receiver_that_is_gone_is_disabled_in_the_write_that_gives_the_delivery_up(
    bench: Any, subscribe: Subscribe, scripted: Any
) -> None:
    sink = scripted(lambda position, attempt: GONE)
    async with bench.running(bench.dispatcher((subscribe("s"), sink))):
        (position,) = await bench.send(1, "s")
        await bench.outbox.wait_for_marks(1)

    states = await bench.store.subscriptions.states()
    assert (states["s"].state, states["s"].by) == (SubscriptionState.DISABLED, "receiver")
    assert (await bench.outbox.list(position))[0][1] is DeliveryState.DEAD_LETTERED


async def test_attempts_are_logged_and_their_numbers_go_on_after_a_restart(
    bench: Any, subscribe: Subscribe, scripted: Any
) -> None:
    for _ in range(2):
        sink = scripted()
        dispatcher = bench.dispatcher((subscribe("s"), sink), attempts=bench.store.subscriptions)
        async with bench.running(dispatcher):
            await bench.send(3, "s")
            while len(sink.accepted) < 3:
                bench.clock.advance(1)
                await asyncio.sleep(0.005)

    found = await bench.store.subscriptions.attempts("s", before=None, limit=99)
    assert [one.number for one in found] == [6, 5, 4, 3, 2, 1]
    assert {(one.outcome, one.attempt, one.status) for one in found} == {("delivered", 1, None)}


async def test_lane_waits_for_a_store_that_cannot_tell_the_number_of_the_last_attempt(
    bench: Any, subscribe: Subscribe, scripted: Any
) -> None:
    class Ailing:
        failures = 2

        async def newest_attempt(self, name: str) -> int:
            if self.failures:
                self.failures -= 1
                raise StoreUnavailable("the disk is gone")
            return 41

    sink, ailing = scripted(), Ailing()
    async with bench.running(bench.dispatcher((subscribe("s"), sink), attempts=ailing)):
        await bench.send(1, "s")
        while ailing.failures or not sink.accepted:
            await asyncio.sleep(0)
            bench.clock.advance(1)
        await bench.outbox.wait_for_marks(1)

    (found,) = await bench.store.subscriptions.attempts("s", before=None, limit=9)
    assert found.number == 42


async def test_redriven_delivery_sends_what_its_letter_holds_and_begins_anew(
    bench: Any, subscribe: Subscribe, scripted: Any
) -> None:
    answers = [SinkRefused("cannot be sent")]
    sent: list[Event] = []

    class Keeping(scripted):  # type: ignore[misc]
        async def deliver(self, logged: Any, attempt: int) -> None:
            sent.append(logged.event)
            await super().deliver(logged, attempt)

    sink, gate = Keeping(lambda position, attempt: answers.pop() if answers else None), Gate()
    letters = bench.store.dead_letters
    async with bench.running(bench.dispatcher((subscribe("s"), sink), gates={"s": gate}, letters=letters)):
        (position,) = await bench.send(1, "s")
        await bench.outbox.wait_for_marks(1)
        (letter,) = await letters.list(stage="delivery", before=None, limit=9)
        changed = orjson.loads(letter.body) | {"data": {"n": "mended"}}
        given = {"letter": letter.id, "at": 0, "by": "ana"}
        edit = LetterAction(**given, number=1, kind=ActionKind.EDITED, body=orjson.dumps(changed))
        await letters.act(edit)
        redrive = LetterAction(**given, number=2, kind=ActionKind.REDRIVEN)
        await letters.act(redrive, deliver=("s", position))
        gate.tell((await bench.store.subscriptions.states())["s"])
        await sink.wait_for_accepted(1)
        await bench.outbox.wait_for_marks(2)

    assert [event.data for event in sent] == [{"n": 0}, {"n": "mended"}]
    assert sink.begun == [(position, 1), (position, 1)]
    assert (await bench.outbox.list(position))[0][1:3] == (DeliveryState.DELIVERED, 1)


def body(url: str = "http://receiver.example/") -> bytes:
    return orjson.dumps({"subscription": {"sink": url, "protocol": "HTTP", "types": ["a"]}})


def change(number: int) -> Event:
    return subscription_changed(
        subscription="x", action="created", revision=str(number), rule={}, by="t", at_us=number
    )


async def test_roster_begins_changes_and_ends_the_lanes_of_what_was_made(bench: Any) -> None:
    told: list[tuple[str, str]] = []
    changed = asyncio.Condition()

    async def note(what: str, name: str) -> None:
        async with changed:
            told.append((what, name))
            changed.notify_all()

    def begin(subscription: Subscription, keys: object) -> None:
        asyncio.get_running_loop().create_task(note("begin", subscription.name))

    async def wait_for(count: int) -> None:
        async with asyncio.timeout(5), changed:
            await changed.wait_for(lambda: len(told) >= count)

    subscriptions = bench.store.subscriptions
    roster = Roster(subscriptions, ["p"], clock=bench.clock, begin=begin, end=lambda name: note("end", name))
    assert not roster.gates["p"].is_open
    running = asyncio.create_task(roster.run())
    await subscriptions.put("a", body(), change(1))
    await wait_for(1)
    await subscriptions.put("a", body("http://other.example/"), change(2))
    await wait_for(3)
    await subscriptions.put("b", b"{}", change(3))  # no definition at all
    await subscriptions.put("a", None, change(4))
    await wait_for(4)
    await subscriptions.set_state("p", SubscriptionState.PAUSED, reason="", by="t")
    async with asyncio.timeout(5):
        while roster.gates["p"].state != "paused":  # noqa: ASYNC110 - a gate tells its lane only
            await asyncio.sleep(0)
    running.cancel()
    await asyncio.wait([running])

    assert told == [("begin", "a"), ("end", "a"), ("begin", "a"), ("end", "a")]


async def test_lane_that_takes_long_to_end_holds_up_no_other(bench: Any) -> None:
    begun: asyncio.Queue[str] = asyncio.Queue()
    stuck = asyncio.Event()

    async def end(name: str) -> None:
        await stuck.wait()

    class Made:
        version = 0

        def __init__(self) -> None:
            self.made = [MadeSubscription("a", 1, body())]
            self.changed = asyncio.Event()

        async def at(self, position: int) -> list[MadeSubscription]:
            return self.made

        async def states(self) -> dict[str, SubscriptionStatus]:
            return {}

        async def wait_for_change(self, seen: int) -> None:
            await self.changed.wait()
            self.changed.clear()

    made: Any = Made()
    roster = Roster(made, [], clock=bench.clock, begin=lambda one, keys: begun.put_nowait(one.name), end=end)
    running = asyncio.create_task(roster.run())
    assert await begun.get() == "a"
    made.made = [MadeSubscription("a", 2, body()), MadeSubscription("b", 3, body())]
    made.changed.set()
    async with asyncio.timeout(5):
        assert await begun.get() == "b"
        stuck.set()
        assert await begun.get() == "a"
    running.cancel()
    await asyncio.wait([running])
