"""The log as a stream: no gap, no double, live, and quiet when nothing matches."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

from tidemill.events.event import Event
from tidemill.patterns.filters import compile_filters
from tidemill.sinks.sse import PAGE, follow
from tidemill.storage.contract import Append, Store


async def append(store: Store, count: int, *, kind: str = "dev.example.done.v1") -> None:
    first = store.log.head + 1
    events = [Event(id=str(first + place), source="/tests", type=kind) for place in range(count)]
    await store.log.append(Append(events=events))


async def test_stream_gives_every_later_event_once_and_in_order(store: Store) -> None:
    await append(store, 2 * PAGE + 3)

    seen = []
    async with aclosing(follow(store.log, after=5, heartbeat=60)) as stream:
        async for logged in stream:
            assert logged is not None
            seen.append(logged.position)
            if len(seen) == 2 * PAGE - 2:
                break

    assert seen == list(range(6, 2 * PAGE + 4))


async def test_stream_goes_on_live_after_what_was_there(store: Store) -> None:
    await append(store, 1)

    async with aclosing(follow(store.log, after=0, heartbeat=60)) as stream:
        first = await anext(stream)
        later = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        assert not later.done()
        await append(store, 1)
        second = await later

    assert first is not None
    assert second is not None
    assert (first.position, second.position) == (1, 2)


async def test_reader_that_comes_again_misses_nothing_and_sees_nothing_twice(store: Store) -> None:
    await append(store, 10)
    seen: list[int] = []

    for _ in range(5):
        async with aclosing(follow(store.log, after=seen[-1] if seen else 0, heartbeat=60)) as stream:
            for _ in range(2):
                logged = await anext(stream)
                assert logged is not None
                seen.append(logged.position)

    assert seen == list(range(1, 11))


async def test_stream_gives_what_matches_only(store: Store) -> None:
    await append(store, 3, kind="dev.example.noise.v1")
    await append(store, 1, kind="dev.example.wanted.v1")
    rule = compile_filters([{"exact": {"type": "dev.example.wanted.v1"}}])

    async with aclosing(follow(store.log, after=0, rule=rule, heartbeat=60)) as stream:
        logged = await anext(stream)

    assert logged is not None
    assert logged.position == 4


async def test_silence_is_told_even_when_other_events_pass(store: Store) -> None:
    await append(store, 3, kind="dev.example.noise.v1")
    rule = compile_filters([{"exact": {"type": "dev.example.wanted.v1"}}])

    async with aclosing(follow(store.log, after=0, rule=rule, heartbeat=0)) as stream:
        assert await anext(stream) is None
        assert await anext(stream) is None


async def test_position_beyond_the_log_begins_at_its_end(store: Store) -> None:
    await append(store, 2)

    async with aclosing(follow(store.log, after=1_000, heartbeat=60)) as stream:
        later = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        await append(store, 1)
        logged = await later

    assert logged is not None
    assert logged.position == 3


async def test_slow_reader_reads_from_the_log_not_from_a_queue(store: Store, monkeypatch: Any) -> None:
    await append(store, 3 * PAGE)
    limits: list[int] = []
    read = store.log.read

    async def counted(after: int, limit: int) -> list[Any]:
        limits.append(limit)
        return await read(after, limit)

    monkeypatch.setattr(store.log, "read", counted)
    async with aclosing(follow(store.log, after=0, heartbeat=60)) as stream:
        await anext(stream)

    assert limits == [PAGE]
