"""Candidates: when a file becomes due, and what stays."""

from __future__ import annotations

import asyncio

import pytest

from tidemill.sources.files.candidates import Candidates
from tidemill.sources.files.reader import Request
from tidemill.sources.files.version import Version
from tidemill.testing.clock import ManualClock

ONE = Version(1, 10, 100)
TWO = Version(1, 20, 200)


class Room:
    """Counts how often room was announced."""

    def __init__(self) -> None:
        self.told = 0

    def tell(self) -> None:
        self.told += 1


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def room() -> Room:
    return Room()


@pytest.fixture
def candidates(clock: ManualClock, room: Room) -> Candidates:
    return Candidates(clock, quiet_seconds=1, limit=4, on_room=room.tell)


async def due(candidates: Candidates) -> list[Request]:
    """What is due now; fails when nothing is."""
    return await asyncio.wait_for(candidates.take(100), 1)


async def nothing_due(candidates: Candidates) -> bool:
    task = asyncio.ensure_future(candidates.take(100))
    for _ in range(5):
        await asyncio.sleep(0)
    task.cancel()
    return not task.done()


async def test_sighting_is_due_after_its_quiet_time(candidates: Candidates, clock: ManualClock) -> None:
    candidates.see("a", ONE, complete=False)

    clock.advance(0.999)
    early = await nothing_due(candidates)
    clock.advance(0.001)

    assert early
    assert await due(candidates) == [Request("a", ONE, complete=False)]


async def test_complete_file_is_due_at_once(candidates: Candidates) -> None:
    candidates.see("a", None, complete=True)

    assert await due(candidates) == [Request("a", None, complete=True)]


async def test_path_is_a_candidate_once(candidates: Candidates, clock: ManualClock) -> None:
    candidates.see("a", None, complete=False)
    candidates.see("a", None, complete=True)
    candidates.see("a", ONE, complete=False)

    assert await due(candidates) == [Request("a", None, complete=True)]
    assert len(candidates) == 1


async def test_hint_of_completeness_ends_the_quiet_time(candidates: Candidates, clock: ManualClock) -> None:
    candidates.see("a", ONE, complete=False)
    candidates.see("a", None, complete=True)

    assert await due(candidates) == [Request("a", ONE, complete=True)]
    assert clock.planned == 0


async def test_unsettled_file_waits_again_with_its_new_version(
    candidates: Candidates, clock: ManualClock
) -> None:
    candidates.see("a", ONE, complete=False)
    clock.advance(1)
    await due(candidates)

    candidates.settle_later("a", TWO)
    early = await nothing_due(candidates)
    clock.advance(1)

    assert early
    assert await due(candidates) == [Request("a", TWO, complete=False)]


async def test_hint_during_reading_makes_a_dropped_file_due_again(candidates: Candidates) -> None:
    candidates.see("a", None, complete=True)
    await due(candidates)
    candidates.see("a", None, complete=True)

    candidates.drop("a")

    assert await due(candidates) == [Request("a", None, complete=True)]
    candidates.drop("a")
    assert len(candidates) == 0


async def test_mere_sign_of_life_during_reading_does_not_cut_the_quiet_time_short(
    candidates: Candidates, clock: ManualClock
) -> None:
    candidates.see("a", None, complete=False)
    await due(candidates)
    candidates.see("a", None, complete=False)

    candidates.settle_later("a", ONE)
    early = await nothing_due(candidates)
    clock.advance(1)

    assert early
    assert await due(candidates) == [Request("a", ONE, complete=False)]


async def test_completeness_told_during_reading_cuts_the_quiet_time_short(candidates: Candidates) -> None:
    candidates.see("a", None, complete=False)
    await due(candidates)
    candidates.see("a", None, complete=True)

    candidates.settle_later("a", ONE)

    assert await due(candidates) == [Request("a", ONE, complete=True)]


async def test_given_back_files_are_due_before_others(candidates: Candidates) -> None:
    for path in ("a", "b", "c"):
        candidates.see(path, None, complete=True)
    first, second = await candidates.take(2)

    candidates.give_back(second)
    candidates.drop(first.path)

    assert [request.path for request in await due(candidates)] == ["b", "c"]


async def test_what_does_not_fit_is_left_to_a_later_scan(candidates: Candidates, room: Room) -> None:
    for path in ("a", "b", "c", "d", "e"):
        candidates.see(path, None, complete=True)
    left_out = "e" not in candidates

    for request in await due(candidates):
        candidates.drop(request.path)

    assert left_out
    assert room.told == 1


async def test_truncated_scan_is_repeated_when_there_is_room(candidates: Candidates, room: Room) -> None:
    for path in ("a", "b", "c"):
        candidates.see(path, None, complete=True)
    candidates.expect_scan()
    told_when_full = room.told

    candidates.drop((await candidates.take(1))[0].path)

    assert told_when_full == 0
    assert room.told == 1


async def test_stop_leaves_no_timer(candidates: Candidates, clock: ManualClock) -> None:
    candidates.see("a", ONE, complete=False)

    candidates.stop()

    assert clock.planned == 0
    assert len(candidates) == 0
