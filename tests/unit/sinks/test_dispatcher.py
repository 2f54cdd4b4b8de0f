"""Deliveries over a real store, under virtual time."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any

import pytest

from tidemill.clock import Clock
from tidemill.errors import SinkRefused, SinkUnavailable
from tidemill.project.model import Subscription
from tidemill.sinks.backlog import PAGE
from tidemill.storage.contract import Append, DeliveryMark, DeliveryState
from tidemill.testing.clock import ManualClock

Subscribe = Callable[..., Subscription]

DOWN = SinkUnavailable("the receiver answered 500", status=500)
SECOND = 1_000_000


async def test_event_is_delivered_and_marked(bench: Any, subscribe: Subscribe, scripted: Any) -> None:
    orders, sink = subscribe("orders"), scripted()
    [position] = await bench.send(1, "orders")

    async with bench.running(bench.dispatcher((orders, sink))):
        await bench.outbox.wait_for_marks(1)

    assert sink.begun == [(position, 1)]
    assert await bench.outbox.list(position) == [("orders", DeliveryState.DELIVERED, 1, "")]
    assert await bench.outbox.due("orders", after=0, limit=10) == []


async def test_event_committed_later_is_delivered_without_waiting_for_time(
    bench: Any, subscribe: Subscribe, scripted: Any
) -> None:
    sink = scripted()

    async with bench.running(bench.dispatcher((subscribe("orders"), sink))):
        await bench.send(1, "orders")
        await sink.wait_for_accepted(1)
        await bench.outbox.wait_for_marks(1)
        await bench.send(2, "orders")
        await sink.wait_for_accepted(3)

    assert sink.accepted == [1, 2, 3]


async def test_dead_subscriber_does_not_delay_another(
    bench: Any, subscribe: Subscribe, scripted: Any
) -> None:
    hanging, healthy = scripted(), scripted()
    hanging.open.clear()
    await bench.send(50, "dead", "alive")

    async with bench.running(
        bench.dispatcher(
            (subscribe("dead"), hanging), (subscribe("alive"), healthy), concurrency=4, drain_seconds=0
        )
    ):
        await healthy.wait_for_accepted(50)
        await hanging.wait_for_attempts(4)

    assert hanging.accepted == []
    assert hanging.most_under_way == 4


async def test_ordered_lane_delivers_one_at_a_time_in_log_order(
    bench: Any, subscribe: Subscribe, scripted: Any
) -> None:
    sink = scripted()
    positions = await bench.send(30, "orders")

    async with bench.running(bench.dispatcher((subscribe("orders", ordered=True), sink), concurrency=8)):
        await sink.wait_for_accepted(30)

    assert sink.accepted == positions
    assert sink.most_under_way == 1


async def test_ordered_lane_is_held_back_by_its_head_until_that_is_delivered(
    bench: Any, clock: ManualClock, subscribe: Subscribe, scripted: Any
) -> None:
    sink = scripted(lambda position, attempt: DOWN if position == 1 and attempt <= 2 else None)
    await bench.send(3, "orders")

    async with bench.running(bench.dispatcher((subscribe("orders", ordered=True), sink))):
        await bench.outbox.wait_for_marks(1)
        assert sink.begun == [(1, 1)]
        clock.advance(5)
        await bench.outbox.wait_for_marks(2)
        assert sink.begun == [(1, 1), (1, 2)]
        clock.advance(300)
        await bench.outbox.wait_for_marks(5)

    assert sink.begun == [(1, 1), (1, 2), (1, 3), (2, 1), (3, 1)]


async def test_ordered_lane_goes_on_after_its_head_was_given_up(
    bench: Any, clock: ManualClock, subscribe: Subscribe, scripted: Any
) -> None:
    sink = scripted(lambda position, attempt: DOWN if position == 1 else None)
    await bench.send(2, "orders")

    async with bench.running(bench.dispatcher((subscribe("orders", ordered=True, max_attempts=2), sink))):
        await bench.outbox.wait_for_marks(1)
        clock.advance(5)
        await bench.outbox.wait_for_marks(3)

    assert sink.begun == [(1, 1), (1, 2), (2, 1)]


async def test_unordered_lane_goes_past_what_waits_for_its_next_attempt(
    bench: Any, clock: ManualClock, subscribe: Subscribe, scripted: Any
) -> None:
    sink = scripted(lambda position, attempt: DOWN if position == 1 and attempt == 1 else None)
    await bench.send(20, "orders")

    async with bench.running(bench.dispatcher((subscribe("orders"), sink), concurrency=2)):
        await bench.outbox.wait_for_marks(20)
        assert sorted(sink.accepted) == list(range(2, 21))
        clock.advance(5)
        await sink.wait_for_accepted(20)

    assert sink.accepted[-1] == 1
    assert sink.most_under_way <= 2


async def test_failed_delivery_is_not_tried_before_its_time(
    bench: Any, clock: ManualClock, subscribe: Subscribe, scripted: Any
) -> None:
    sink = scripted(lambda position, attempt: DOWN if attempt == 1 else None)
    started_at = clock.now_us()
    await bench.send(1, "orders")

    async with bench.running(bench.dispatcher((subscribe("orders"), sink))) as task:
        await bench.outbox.wait_for_marks(1)
        await clock.run_for(4.999)
        assert sink.begun == [(1, 1)]
        await clock.run_for(0.001)
        await sink.wait_for_accepted(1)
        await bench.outbox.wait_for_marks(2)
        assert not task.done()

    [failed, delivered] = bench.outbox.marks
    assert failed == DeliveryMark(
        "orders",
        1,
        DeliveryState.PENDING,
        1,
        due_at=started_at + 5 * SECOND,
        detail="the receiver answered 500",
    )
    assert (delivered.state, delivered.attempts) == (DeliveryState.DELIVERED, 2)


@pytest.mark.parametrize("jump", [-86_400, 86_400])
@pytest.mark.parametrize("ordered", [False, True])
async def test_setting_the_clock_makes_no_retry_early_or_late(
    bench: Any, clock: ManualClock, subscribe: Subscribe, scripted: Any, ordered: bool, jump: int
) -> None:
    sink = scripted(lambda position, attempt: DOWN if attempt == 1 else None)
    await bench.send(1, "orders")

    async with bench.running(bench.dispatcher((subscribe("orders", ordered=ordered), sink))):
        await bench.outbox.wait_for_marks(1)
        clock.jump(jump)
        await bench.send(1, "orders")  # whatever wakes the lane
        await clock.run_for(4.999)
        tried_early = (1, 2) in sink.begun
        await clock.run_for(0.001)
        await sink.wait_for_accepted(1)

    assert not tried_early
    assert (1, 2) in sink.begun


async def test_retry_after_of_the_receiver_is_observed(
    bench: Any, clock: ManualClock, subscribe: Subscribe, scripted: Any
) -> None:
    busy = SinkUnavailable("the receiver answered 429", status=429, retry_after=3_600)
    sink = scripted(lambda position, attempt: busy if attempt == 1 else None)
    await bench.send(1, "orders")

    async with bench.running(bench.dispatcher((subscribe("orders"), sink))):
        await bench.outbox.wait_for_marks(1)
        await clock.run_for(3_599)
        assert sink.begun == [(1, 1)]
        clock.advance(1)
        await sink.wait_for_accepted(1)


async def test_delivery_given_up_becomes_a_dead_letter_with_the_event(
    bench: Any, clock: ManualClock, subscribe: Subscribe, scripted: Any, caplog: pytest.LogCaptureFixture
) -> None:
    sink = scripted(lambda position, attempt: DOWN)
    counted: list[tuple[str, str]] = []
    await bench.send(1, "orders")

    async with bench.running(
        bench.dispatcher(
            (subscribe("orders", max_attempts=2), sink), count=lambda *fact: counted.append(fact)
        )
    ):
        await bench.outbox.wait_for_marks(1)
        clock.advance(5)
        await bench.outbox.wait_for_marks(2)

    [letter] = await bench.store.dead_letters.list(stage="delivery", before=None, limit=10)
    whole = await bench.store.dead_letters.get(letter.id)
    assert (whole.code, whole.origin, whole.position) == ("attempts_exhausted", "orders", 1)
    assert whole.coordinates == {"subscription": "orders", "position": 1, "attempts": 2, "status": 500}
    assert json.loads(whole.body)["id"] == "1"
    assert json.loads(whole.body)["data"] == {"n": 0}
    assert await bench.outbox.list(1) == [
        ("orders", DeliveryState.DEAD_LETTERED, 2, "the receiver answered 500")
    ]
    assert counted == [("orders", "failed"), ("orders", "dead_lettered")]
    assert [record.message for record in caplog.records if record.name.startswith("tidemill.sinks")] == [
        "delivery.failed",
        "delivery.dead_lettered",
    ]


async def test_receiver_that_is_gone_disables_its_subscription_until_restart(
    bench: Any, subscribe: Subscribe, scripted: Any, caplog: pytest.LogCaptureFixture
) -> None:
    gone = SinkRefused("the receiver answered 410", status=410, gone=True)
    sink, other = scripted(lambda position, attempt: gone), scripted()
    await bench.send(5, "orders", "other")
    dispatcher = bench.dispatcher((subscribe("orders", ordered=True), sink), (subscribe("other"), other))

    async with bench.running(dispatcher) as task:
        await other.wait_for_accepted(5)
        await bench.outbox.wait_for_marks(6)
        await bench.send(1, "orders", "other")
        await other.wait_for_accepted(6)
        [status, _] = dispatcher.status()
        assert not task.done()

    assert sink.begun == [(1, 1)]
    assert status.disabled
    assert status.dead_lettered == 1
    assert [
        letter.code for letter in await bench.store.dead_letters.list(stage=None, before=None, limit=9)
    ] == ["receiver_gone"]
    assert [each.position for each in await bench.outbox.due("orders", after=0, limit=10)] == [2, 3, 4, 5, 6]
    assert (logging.ERROR, "subscription.disabled") in [(r.levelno, r.message) for r in caplog.records]

    back = scripted()
    async with bench.running(bench.dispatcher((subscribe("orders", ordered=True), back))):
        await back.wait_for_accepted(5)

    assert back.accepted == [2, 3, 4, 5, 6]


async def test_crash_between_delivery_and_mark_delivers_again(
    bench: Any, subscribe: Subscribe, scripted: Any
) -> None:
    sink = scripted()
    await bench.send(1, "orders")
    bench.outbox.failures = 1_000_000

    async with bench.running(bench.dispatcher((subscribe("orders"), sink), drain_seconds=0)):
        await bench.outbox.wait_for_refused_writes(1)
    assert await bench.outbox.list(1) == [("orders", DeliveryState.PENDING, 0, "")]

    bench.outbox.failures = 0
    async with bench.running(bench.dispatcher((subscribe("orders"), sink))):
        await bench.outbox.wait_for_marks(1)

    assert sink.begun == [(1, 1), (1, 1)]
    assert await bench.outbox.list(1) == [("orders", DeliveryState.DELIVERED, 1, "")]


async def test_store_that_heals_gets_the_marks_without_a_second_delivery(
    bench: Any, clock: ManualClock, subscribe: Subscribe, scripted: Any
) -> None:
    sink = scripted()
    await bench.send(3, "orders")
    bench.outbox.failures = 2

    async with bench.running(bench.dispatcher((subscribe("orders"), sink))) as task:
        await bench.outbox.wait_for_refused_writes(1)
        while bench.outbox.failures:
            await clock.wait_for_planned()
            await clock.run_for(1)
        await clock.run_for(10)
        await bench.outbox.wait_for_marks(3)
        assert not task.done()

    assert sorted(sink.begun) == [(1, 1), (2, 1), (3, 1)]
    assert await bench.outbox.due("orders", after=0, limit=10) == []


async def test_marks_that_gather_go_into_one_write(bench: Any, subscribe: Subscribe, scripted: Any) -> None:
    sink = scripted()
    sink.open.clear()
    await bench.send(40, "orders")

    async with bench.running(bench.dispatcher((subscribe("orders"), sink), concurrency=40)):
        await sink.wait_for_attempts(40)
        sink.open.set()
        await bench.outbox.wait_for_marks(40)

    assert len(bench.outbox.writes) <= 5


async def test_retries_and_their_times_survive_a_restart(
    bench: Any, clock: ManualClock, subscribe: Subscribe, scripted: Any
) -> None:
    sink = scripted(lambda position, attempt: DOWN if attempt < 3 else None)
    await bench.send(1, "orders")
    async with bench.running(bench.dispatcher((subscribe("orders"), sink))):
        await bench.outbox.wait_for_marks(1)
        clock.advance(5)
        await bench.outbox.wait_for_marks(2)

    async with bench.running(bench.dispatcher((subscribe("orders"), sink))):
        await clock.run_for(299)
        assert sink.begun == [(1, 1), (1, 2)]
        clock.advance(1)
        await sink.wait_for_accepted(1)

    assert sink.begun == [(1, 1), (1, 2), (1, 3)]


async def test_stop_lets_deliveries_under_way_end_and_be_marked(
    bench: Any, subscribe: Subscribe, scripted: Any
) -> None:
    sink = scripted()
    sink.open.clear()
    await bench.send(3, "orders")

    async with bench.running(bench.dispatcher((subscribe("orders"), sink), concurrency=2)) as task:
        await sink.wait_for_attempts(2)
        task.cancel()
        await asyncio.sleep(0)
        sink.open.set()
        await asyncio.wait([task])

    assert sorted(sink.accepted) == [1, 2]
    assert [each.position for each in await bench.outbox.due("orders", after=0, limit=10)] == [3]


async def test_stop_waits_no_longer_than_it_was_told(
    bench: Any, clock: ManualClock, subscribe: Subscribe, scripted: Any
) -> None:
    sink = scripted()
    sink.open.clear()
    await bench.send(1, "orders")

    async with bench.running(bench.dispatcher((subscribe("orders"), sink), drain_seconds=5.0)) as task:
        await sink.wait_for_attempts(1)
        task.cancel()
        await clock.run_for(4.9)
        assert not task.done()
        clock.advance(0.1)
        await asyncio.wait([task])

    assert sink.accepted == []
    assert [each.attempts for each in await bench.outbox.due("orders", after=0, limit=10)] == [0]


async def test_sink_that_breaks_its_contract_fails_only_its_own_delivery(
    bench: Any, subscribe: Subscribe, scripted: Any
) -> None:
    broken = scripted(lambda position, attempt: ZeroDivisionError("canary"))
    healthy = scripted()
    await bench.send(2, "broken", "healthy")
    dispatcher = bench.dispatcher((subscribe("broken"), broken), (subscribe("healthy"), healthy))

    async with bench.running(dispatcher) as task:
        await bench.outbox.wait_for_marks(4)
        assert not task.done()
        [status, _] = dispatcher.status()

    assert status.last_error == "the sink failed with ZeroDivisionError"
    assert {mark.detail for mark in bench.outbox.marks} == {"", "the sink failed with ZeroDivisionError"}


async def test_backlog_of_many_pages_is_read_page_by_page(
    bench: Any, subscribe: Subscribe, scripted: Any
) -> None:
    sink = scripted()
    count = 3 * PAGE + 7
    await bench.send(count, "orders")
    dispatcher = bench.dispatcher((subscribe("orders"), sink), concurrency=16)

    async with bench.running(dispatcher):
        await sink.wait_for_attempts(1)
        [status] = dispatcher.status()
        assert status.pending <= PAGE + 16
        assert not status.pending_complete
        await bench.outbox.wait_for_marks(count)

    assert sorted(sink.accepted) == list(range(1, count + 1))


async def test_lane_looks_again_by_itself_when_it_was_not_told(
    bench: Any, clock: ManualClock, subscribe: Subscribe, scripted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = scripted()
    never_told = asyncio.Event()

    async def wait_for_delivery(subscription: str, after: int) -> None:
        await never_told.wait()

    monkeypatch.setattr(bench.outbox, "wait_for_delivery", wait_for_delivery)
    async with bench.running(bench.dispatcher((subscribe("orders"), sink))):
        await clock.wait_for_planned()
        await bench.send(1, "orders")
        clock.advance(30)
        await sink.wait_for_accepted(1)


async def test_event_that_is_missing_from_the_log_becomes_a_dead_letter(
    bench: Any, subscribe: Subscribe, scripted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def get(position: int) -> None:
        return None

    sink = scripted()
    await bench.send(1, "orders")
    monkeypatch.setattr(bench.store.log, "get", get)

    async with bench.running(bench.dispatcher((subscribe("orders"), sink))):
        await bench.outbox.wait_for_marks(1)

    [letter] = await bench.store.dead_letters.list(stage="delivery", before=None, limit=10)
    assert (letter.code, letter.position) == ("event_missing", 1)
    assert sink.begun == []


async def test_status_tells_how_a_subscription_is_doing(
    bench: Any, subscribe: Subscribe, scripted: Any
) -> None:
    sink = scripted(lambda position, attempt: DOWN if position == 2 else None)
    await bench.send(3, "orders")
    dispatcher = bench.dispatcher((subscribe("orders", ordered=False), sink))

    async with bench.running(dispatcher):
        await bench.outbox.wait_for_marks(3)
        for _ in range(5):
            await asyncio.sleep(0)
        [status] = dispatcher.status()

    assert (status.delivered, status.failed, status.dead_lettered, status.pending) == (2, 1, 0, 1)
    assert status.last_error == "the receiver answered 500"
    assert not status.disabled


async def test_subscription_without_a_sink_keeps_its_deliveries(
    bench: Any, clock: Clock, subscribe: Subscribe
) -> None:
    from tidemill.sinks.dispatcher import Dispatcher

    await bench.send(1, "kafka")
    dispatcher = Dispatcher([subscribe("kafka")], {}, log=bench.log, outbox=bench.outbox, clock=clock)

    async with bench.running(dispatcher) as task:
        await asyncio.sleep(0)
        assert not task.done()
        [status] = dispatcher.status()

    assert status.disabled
    assert status.last_error == "its sink is off"
    assert len(await bench.outbox.due("kafka", after=0, limit=10)) == 1


async def test_log_append_is_untouched_by_deliveries(bench: Any, subscribe: Subscribe, scripted: Any) -> None:
    await bench.send(1, "orders")
    head = bench.log.head

    async with bench.running(bench.dispatcher((subscribe("orders"), scripted()))):
        await bench.outbox.wait_for_marks(1)

    assert bench.log.head == head
    assert await bench.log.append(Append()) == []
