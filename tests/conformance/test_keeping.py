"""What every store must do about the past: what is dropped, what is remembered (see `Keeping`)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.conformance.databases import DATABASES, opened
from tests.conformance.values import new_run

from tidemill.clock import SystemClock
from tidemill.events.event import Event
from tidemill.storage.contract import (
    Append,
    Appended,
    Became,
    Delivery,
    DeliveryMark,
    DeliveryState,
    Disposition,
    DispositionKind,
    NewRun,
    Recorded,
    RouteBatch,
    RunEnd,
    Store,
)
from tidemill.storage.replay import Replay, ReplayState

#: After everything that happens here.
LATE = 1 << 60


@pytest.fixture(params=DATABASES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    async with opened(request, tmp_path, SystemClock()) as store:
        yield store


def event(number: int) -> Event:
    return Event(id=str(number), source="/shop", type="com.example.placed", data={"n": number})


def run(number: int, *, position: int) -> NewRun:
    return new_run(f"run-{number:04}", position=position, queued_at=1000 + number)


async def test_dropped_events_are_gone_and_their_identities_still_count(store: Store) -> None:
    await store.log.append(Append(events=[event(n) for n in range(6)]))
    await store.runs.route(RouteBatch(expected=0, cursor=6))

    await store.keeping.drop(1, 4, remember_since=0, remember_above=0)

    assert await store.log.get(4) is None
    assert (await store.keeping.oldest() or (0,))[0] == 5
    assert await store.log.append(Append(events=[event(2)])) == [Appended(3, duplicate=True)]
    assert await store.log.append(Append(events=[event(99)])) == [Appended(7)]


async def test_an_identity_is_forgotten_when_its_window_has_passed(store: Store) -> None:
    await store.log.append(Append(events=[event(n) for n in range(4)]))

    await store.keeping.drop(1, 1, remember_since=LATE, remember_above=2)
    await store.keeping.drop(2, 2, remember_since=LATE, remember_above=2)
    remembered = await store.log.append(Append(events=[event(1)]))
    await store.keeping.forget(before=0, identities_before=LATE, identities_below=3)

    assert remembered == [Appended(2, duplicate=True)]
    assert await store.log.append(Append(events=[event(0), event(1)])) == [Appended(5), Appended(6)]


async def test_ended_replays_are_forgotten_and_running_ones_stay(store: Store) -> None:
    orders = [Replay(id=str(at), at=at, position=0, until=0) for at in (1, 2, 3)]
    for order in orders:
        await store.replays.add(order)
    await store.replays.cancel("1")
    await store.replays.advance(orders[2], replace(orders[2], state=ReplayState.DONE))

    forgotten = await store.replays.forget(before=3)

    assert forgotten == 1
    assert [order.id for order in await store.replays.list()] == ["2", "3"]
    await store.replays.add(orders[0])  # nothing is left of it
    again = await store.replays.get("1")
    assert again is not None
    assert again.state is ReplayState.RUNNING


async def test_pending_deliveries_of_a_segment_are_told(store: Store) -> None:
    await store.log.append(Append(events=[event(n) for n in range(3)]))
    deliveries = [
        Delivery(subscription=name, position=position) for name in ("a", "b") for position in (1, 2, 3)
    ]
    await store.runs.route(RouteBatch(expected=0, cursor=3, deliveries=deliveries))
    await store.outbox.mark([DeliveryMark("a", 2, DeliveryState.DELIVERED, 1)])

    pending = await store.keeping.undelivered(1, 2)

    assert pending == [("a", 1, 0), ("b", 1, 0), ("b", 2, 0)]


async def test_what_is_needed_is_told(store: Store) -> None:
    await store.log.append(Append(events=[event(n) for n in range(5)]))

    unrouted = await store.keeping.needed_from()
    one = run(1, position=2)
    await store.runs.route(RouteBatch(expected=0, cursor=5, runs=[one]))
    open_run = await store.keeping.needed_from()
    await store.runs.record([Recorded("run-0001", 0, 9, b"{}", RunEnd("succeeded", 8, 9))])
    ended = await store.keeping.needed_from()

    assert (unrouted, open_run, ended) == (1, 2, 6)


async def test_a_pending_delivery_is_needed(store: Store) -> None:
    await store.log.append(Append(events=[event(n) for n in range(5)]))
    await store.runs.route(
        RouteBatch(expected=0, cursor=5, deliveries=[Delivery(subscription="s", position=3)])
    )

    assert await store.keeping.needed_from() == 3


async def test_ended_runs_are_dropped_with_their_histories(store: Store) -> None:
    await store.log.append(Append(events=[event(n) for n in range(4)]))
    runs = [run(n, position=n) for n in (1, 2, 3)]
    await store.runs.route(RouteBatch(expected=0, cursor=4, runs=runs))
    ends = [
        ("run-0001", RunEnd("failed", 8, 100)),
        ("run-0002", RunEnd("running", 8)),
        ("run-0003", RunEnd("failed", 8, 900)),
    ]
    await store.runs.record([Recorded(name, 0, 9, b"{}", end) for name, end in ends])

    dropped = await store.keeping.drop_runs(below=4, ended_before=500)

    assert dropped == 1
    assert await store.runs.get("run-0001") is None
    assert await store.runs.history("run-0001") == []
    assert [len(await store.runs.history(name)) for name in ("run-0002", "run-0003")] == [1, 1]


async def test_what_was_started_is_told_with_its_parameters(store: Store) -> None:
    await store.log.append(Append(events=[event(1), event(2)]))
    started = Disposition(1, "t", DispositionKind.RUN, "run-0001")
    lost = Disposition(2, "t", DispositionKind.RUN, "run-0002")
    await store.runs.route(
        RouteBatch(expected=0, cursor=2, dispositions=[started, lost], runs=[run(1, position=1)])
    )

    assert await store.keeping.became(1, 2) == [Became(started, "orders", b"{}"), Became(lost)]


async def test_segments_tell_their_size_and_what_became_of_them(store: Store) -> None:
    await store.log.append(Append(events=[event(n) for n in range(4)]))
    dispositions = [Disposition(2, "t", DispositionKind.PAUSED), Disposition(4, "t", DispositionKind.PAUSED)]
    await store.runs.route(RouteBatch(expected=0, cursor=4, dispositions=dispositions))

    segment = await store.keeping.segment(1, 3)

    assert segment is not None
    assert (segment.first, segment.last) == (1, 3)
    assert segment.size == await store.keeping.size(0, 3) > 0
    assert [one.disposition for one in await store.keeping.became(1, 3)] == dispositions[:1]
    assert await store.keeping.segment(9, 12) is None


async def test_a_delivery_that_became_pending_again_is_not_dropped_with_its_event(store: Store) -> None:
    await store.log.append(Append(events=[event(n) for n in range(4)]))
    pending = Delivery(subscription="s", position=2)
    await store.runs.route(RouteBatch(expected=0, cursor=4, deliveries=[pending]))

    await store.keeping.drop(1, 3, remember_since=0, remember_above=0)

    assert [one.position for one in await store.outbox.due("s", after=0, limit=9)] == [2]
    assert await store.keeping.needed_from() == 2


async def test_definitions_that_no_event_was_routed_under_are_forgotten(store: Store) -> None:
    await store.log.append(Append(events=[event(n) for n in range(6)]))
    for number, position in enumerate((0, 2, 4)):
        await store.definitions.begin(f"v{number}", [["triggers", {"name": number}]], position=position)

    await store.keeping.drop(1, 3, remember_since=0, remember_above=0)
    await store.keeping.forget(before=0, identities_before=0, identities_below=0)

    under = [await store.definitions.at(position) for position in (4, 5)]
    assert [one.version for one in under if one is not None] == ["v1", "v2"]
    assert await store.definitions.written("v0") is None
    assert await store.definitions.written("v1") == [("triggers", {"name": 1})]
