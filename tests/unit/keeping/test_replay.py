"""Recorded events are told again: those that were asked for, once each, to whom it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tidemill.errors import CursorMoved
from tidemill.events.event import Event, LoggedEvent
from tidemill.events.lifecycle import replayed
from tidemill.keeping.archive import FolderArchive
from tidemill.keeping.replay import Replayer
from tidemill.keeping.retention import SEGMENT, Limits, Retention
from tidemill.project.model import Project
from tidemill.routing.dispositions import Routed, Routes
from tidemill.storage.claims import EventData
from tidemill.storage.contract import Append, Disposition, DispositionKind, RouteBatch, Store
from tidemill.storage.replay import Replay, ReplayState
from tidemill.storage.sqlite import open_store
from tidemill.testing.clock import ManualClock


async def append(store: Store, *names: str, kind: str = "t") -> None:
    before = store.log.head
    await store.log.append(Append(events=[Event(id=name, source="/s", type=kind) for name in names]))
    await store.runs.route(RouteBatch(expected=before, cursor=store.log.head))


def order(store: Store, **members: Any) -> Replay:
    return Replay(**{"id": "again", "at": 1, "position": 0, "until": store.log.head, **members})


async def carry_out(store: Store, clock: ManualClock, replay: Replay, archive: Path | None = None) -> Replay:
    """The order when it has ended."""
    await store.replays.add(replay)
    return await resume(store, clock, replay.id, archive)


async def resume(store: Store, clock: ManualClock, replay: str, archive: Path | None = None) -> Replay:
    replayer = Replayer(store, None if archive is None else FolderArchive(archive), clock=clock)
    work = asyncio.create_task(replayer.run())
    try:
        async with asyncio.timeout(20):
            while True:
                found = await store.replays.get(replay)
                if found is None or found.state is not ReplayState.RUNNING:
                    break
                await asyncio.sleep(0)
    finally:
        work.cancel()
        with suppress(asyncio.CancelledError):
            await work
    assert found is not None
    return found


async def told(store: Store, after: int) -> list[Event]:
    return [one.event for one in await store.log.read(after, 10_000)]


async def test_replay_tells_events_again_under_its_mark(store: Store, clock: ManualClock) -> None:
    await store.log.append(
        Append(
            events=[
                Event(
                    id="1",
                    source="/s",
                    type="t",
                    data={"n": 1},
                    extensions={"hopcount": 3, "correlationid": "c", "tenant": "x"},
                )
            ]
        )
    )

    ended = await carry_out(store, clock, order(store))

    (copy,) = await told(store, 1)
    assert (copy.id, copy.source, copy.type, copy.data) == ("1/replay/again", "/s", "t", {"n": 1})
    assert copy.extensions == {"tenant": "x", "replayid": "again", "replayof": "1"}
    assert (ended.state, ended.told, ended.skipped) == (ReplayState.DONE, 1, 0)


@pytest.mark.parametrize(
    ("where", "wanted"),
    [
        ({"type": "b"}, ["3"]),
        ({"source": "/other"}, []),
        ({"position": 1}, ["2", "3"]),
        ({"until": 2}, ["1", "2"]),
        ({"filters": [{"exact": {"id": "2"}}]}, ["2"]),
        ({"if_no_runs": True}, ["1", "3"]),
        ({"if_no_runs": True, "triggers": ["other"]}, ["1", "2", "3"]),
    ],
)
async def test_replay_tells_what_was_asked_for(
    store: Store, clock: ManualClock, where: dict[str, Any], wanted: list[str]
) -> None:
    await append(store, "1", "2", kind="a")
    await append(store, "3", kind="b")
    started = Disposition(2, "t", DispositionKind.RUN, "r")
    await store.runs.route(RouteBatch(expected=3, cursor=3, dispositions=[started]))

    ended = await carry_out(store, clock, order(store, **where))

    assert [one.id.partition("/")[0] for one in await told(store, 3)] == wanted
    assert ended.told == len(wanted)


async def test_replay_by_time(store: Store, clock: ManualClock) -> None:
    await append(store, "early")
    clock.advance(60)
    since = clock.now_us()
    await append(store, "late")
    clock.advance(60)
    until = clock.now_us()
    await append(store, "last")

    await carry_out(store, clock, order(store, received_from=since, received_before=until))

    assert [one.extensions["replayof"] for one in await told(store, 3)] == ["2"]


async def test_replay_that_was_cut_off_goes_on_and_tells_nothing_twice(
    store: Store, clock: ManualClock
) -> None:
    await append(store, *map(str, range(1500)))
    await store.replays.add(order(store))
    work = asyncio.create_task(Replayer(store, None, clock=clock).run())
    await store.log.wait_for_event(1700)
    work.cancel()
    with suppress(asyncio.CancelledError):
        await work

    ended = await resume(store, clock, "again")

    originals = [int(one.extensions["replayof"]) for one in await told(store, 1500)]
    assert originals == list(range(1, 1501))
    assert ended.told == 1500


async def test_replay_tells_no_faster_than_its_rate(store: Store, clock: ManualClock) -> None:
    await append(store, *map(str, range(100)))
    await store.replays.add(order(store, rate=10))
    work = asyncio.create_task(Replayer(store, None, clock=clock).run())
    try:
        for _ in range(50):
            await asyncio.sleep(0.005)  # for the disk, which knows nothing of virtual time
            clock.advance(0.1)
        after_five = store.log.head - 100
    finally:
        work.cancel()
        with suppress(asyncio.CancelledError):
            await work

    assert 1 < after_five <= 51


async def test_cancelled_replay_stands_where_it_is(store: Store, clock: ManualClock) -> None:
    await append(store, "1")
    await store.replays.add(order(store))

    cancelled = await store.replays.cancel("again")
    await resume(store, clock, "again")

    assert cancelled is not None
    assert cancelled.state is ReplayState.CANCELLED
    assert store.log.head == 1


async def test_two_orders_with_one_id_are_refused(store: Store) -> None:
    await store.replays.add(order(store))

    with pytest.raises(CursorMoved):
        await store.replays.add(order(store))


async def test_replay_tells_what_is_only_in_the_archive(
    store: Store, clock: ManualClock, tmp_path: Path
) -> None:
    for start in range(0, SEGMENT + 3, 1000):
        await append(store, *map(str, range(start, min(start + 1000, SEGMENT + 3))))
    clock.advance(9 * 86_400)
    archive = tmp_path / "archive"
    limits = Limits(days=1, size=None, dedupe_days=7)
    await Retention(store, limits, FolderArchive(archive), clock=clock).look()

    ended = await carry_out(store, clock, order(store), archive)

    originals = [int(one.extensions["replayof"]) for one in await told(store, SEGMENT + 3)]
    assert originals == list(range(1, SEGMENT + 4))
    assert ended.told == SEGMENT + 3


async def test_what_was_told_again_is_not_told_a_third_time(store: Store, clock: ManualClock) -> None:
    await append(store, "1")
    await carry_out(store, clock, order(store))

    second = await carry_out(store, clock, order(store, id="second"))

    assert (second.told, second.skipped) == (1, 1)


def test_only_the_triggers_of_a_replay_are_told(make_project: Callable[..., Project]) -> None:
    project = make_project("""
triggers:
  - {name: one, dag: numbers, filters: [{exact: {type: t}}], parameters: {n: 1}}
  - {name: two, dag: numbers, filters: [{exact: {type: t}}], parameters: {n: 2}}
subscriptions:
  - {name: s, filters: [{exact: {type: t}}], webhook: {url: "https://example.com/hook"}}
""")
    event = Event(id="1", source="/s", type="t")
    routes = Routes(project, max_hops=16)
    to_all, to_one = Routed(), Routed()

    routes.route(LoggedEvent(2, 0, replayed(event, replay="r", position=1, triggers=())), 0, to_all)
    routes.route(LoggedEvent(3, 0, replayed(event, replay="q", position=1, triggers=("two",))), 0, to_one)

    assert [one.trigger for one in to_all.dispositions] == ["one", "two"]
    assert [one.trigger for one in to_one.dispositions] == ["two"]
    assert to_all.deliveries == to_one.deliveries == []


async def test_large_data_is_told_again_whole_from_log_and_archive(
    tmp_path: Path, clock: ManualClock
) -> None:
    data = EventData(f"file://{tmp_path / 'kept'}", above=100)
    store = await open_store(tmp_path / "state" / "tidemill.db", clock=clock, data=data)
    try:
        large = [Event(id=str(n), source="/s", type="t", data={"n": n, "x": "x" * 200}) for n in range(2)]
        small = [Event(id=f"s{n}", source="/s", type="other") for n in range(SEGMENT)]
        await store.log.append(Append(events=[large[0], *small, large[1]]))
        await store.runs.route(RouteBatch(expected=0, cursor=store.log.head))
        archive = FolderArchive(tmp_path / "archive")
        until = store.log.head
        clock.advance(3 * 86_400)
        await append(store, "young")
        limits = Limits(days=1, size=None, dedupe_days=7)
        assert await Retention(store, limits, archive, clock=clock).look() == SEGMENT
        data._contents.clear()

        await carry_out(store, clock, order(store, type="t", until=until), tmp_path / "archive")

        again = [one.event for one in await store.log.read(until + 1, 10)]
        assert [one.data for one in again] == [one.data for one in large]
        assert all("dataref" not in one.extensions and "replayid" in one.extensions for one in again)
    finally:
        await store.close()


async def test_an_archive_that_cannot_be_read_holds_up_one_replay_and_stops_nobody(
    store: Store, tmp_path: Path, clock: ManualClock
) -> None:
    archive = tmp_path / "archive"
    await append(store, *[f"s{n}" for n in range(SEGMENT + 2)])
    clock.advance(3 * 86_400)
    await append(store, "young")
    limits = Limits(days=1, size=None, dedupe_days=7)
    await Retention(store, limits, FolderArchive(archive), clock=clock).look()
    (file,) = archive.iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    first, second = order(store, id="first"), order(store, id="second", at=2, position=SEGMENT)
    await store.replays.add(first)

    done = await carry_out(store, clock, second, archive)
    held = await store.replays.get("first")
    file.write_bytes(whole)
    mended = await resume(store, clock, "first", archive)

    assert done.told == 3
    assert held is not None
    assert held.state is ReplayState.RUNNING
    assert mended.told == SEGMENT + 3
