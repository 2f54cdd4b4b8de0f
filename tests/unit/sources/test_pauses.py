"""Pausing sources: durable, seen by every node, and without loss."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.conformance.databases import DATABASES, opened

from tidemill.errors import StoreUnavailable
from tidemill.sources.contract import SourceState, SourceStatus
from tidemill.sources.pauses import PausableSource, SourcePauses
from tidemill.storage.contract import Append, Appended, Store
from tidemill.testing.clock import ManualClock


class Endless:
    """A source that runs until it is cancelled, and says how often it began."""

    name = "inbox"
    on_every_node = True

    def __init__(self, failure: Exception | None = None) -> None:
        self.begun = 0
        self.ended = 0
        self.fail = asyncio.Event()
        self._failure = failure

    async def run(self) -> None:
        self.begun += 1
        try:
            await self.fail.wait()
            if self._failure is not None:
                raise self._failure
        finally:
            self.ended += 1

    def status(self) -> SourceStatus:
        return SourceStatus("inbox", "endless", SourceState.LIVE, accepted=3, lag=4, error="old")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=DATABASES)
async def store(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> AsyncIterator[Store]:
    async with opened(request, tmp_path, clock) as store:
        yield store


async def loaded(store: Store, clock: ManualClock) -> SourcePauses:
    pauses = SourcePauses(store.log, store.ledger, clock=clock)
    await pauses.load()
    return pauses


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_pause_ends_the_source_and_resume_begins_it_again(store: Store, clock: ManualClock) -> None:
    pauses, source = await loaded(store, clock), Endless()
    paused = PausableSource(source, pauses)
    task = asyncio.ensure_future(paused.run())
    await turns()
    seen = [(source.begun, source.ended, paused.status().state)]

    for change in (pauses.pause, pauses.pause, pauses.resume, pauses.resume):
        await change("inbox")
        await turns()
        seen.append((source.begun, source.ended, paused.status().state))
    task.cancel()
    await asyncio.wait([task])

    live, stopped = SourceState.LIVE, SourceState.PAUSED
    assert seen == [(1, 0, live), (1, 1, stopped), (1, 1, stopped), (2, 1, live), (2, 1, live)]
    assert task.cancelled()
    assert source.ended == 2


async def test_pause_is_found_after_a_restart_and_keeps_the_counts_in_sight(
    store: Store, clock: ManualClock
) -> None:
    await (await loaded(store, clock)).pause("inbox")

    restarted, source = await loaded(store, clock), Endless()
    paused = PausableSource(source, restarted)
    task = asyncio.ensure_future(paused.run())
    await turns()
    status = paused.status()
    task.cancel()
    await asyncio.wait([task])

    assert source.begun == 0
    assert (status.state, status.accepted, status.lag, status.error) == (SourceState.PAUSED, 3, 4, "")
    assert status.paused_at == clock.now_us()


async def test_pause_at_one_node_is_noticed_by_another(store: Store, clock: ManualClock) -> None:
    here, there = await loaded(store, clock), await loaded(store, clock)
    following = asyncio.ensure_future(there.follow())
    waiting = asyncio.ensure_future(there.wait_until("inbox", paused=True))
    await clock.wait_for_planned()

    await here.pause("inbox")
    clock.advance(1)
    await asyncio.wait_for(waiting, 10)
    following.cancel()
    await asyncio.wait([following])

    assert there.is_paused("inbox")
    assert not there.is_paused("other")


async def test_two_that_pause_and_resume_at_once_leave_one_of_both(store: Store, clock: ManualClock) -> None:
    here, there = await loaded(store, clock), await loaded(store, clock)

    await asyncio.gather(
        *(
            change("inbox")
            for _ in range(5)
            for change in (here.pause, there.resume, there.pause, here.resume)
        )
    )

    after = await loaded(store, clock)
    assert after.is_paused("inbox") in {True, False}
    await here.pause("inbox")
    await after.load()
    assert after.is_paused("inbox")


async def test_source_that_ends_or_fails_by_itself_says_so(store: Store, clock: ManualClock) -> None:
    pauses = await loaded(store, clock)
    failing, ending = Endless(StoreUnavailable("gone")), Endless()

    for source in (failing, ending):
        source.fail.set()
    with pytest.raises(StoreUnavailable):
        await asyncio.wait_for(PausableSource(failing, pauses).run(), 10)
    await asyncio.wait_for(PausableSource(ending, pauses).run(), 10)


async def test_pause_that_cannot_be_stored_is_told(
    store: Store, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses = await loaded(store, clock)

    async def fail(_job: Append) -> list[Appended]:
        raise StoreUnavailable("told to fail")

    monkeypatch.setattr(store.log, "append", fail)

    with pytest.raises(StoreUnavailable):
        await pauses.pause("inbox")
    assert not pauses.is_paused("inbox")
