"""The source conformance suite: what every source promises, whatever it reads from. For authors of plug-ins as well.

A source takes part by an adapter (`SourceAdapter`) and a class in a test file (pytest-asyncio in auto mode):

    class TestFiles(SourceConformance):
        @pytest.fixture
        def adapter(self, tmp_path): return FilesAdapter(tmp_path / "inbox")

The store is a real one (SQLite; give a `store` fixture of your own for another). Between it and the source stands
a `ProbedLog`, which fails, holds or fills up on command. Tests wait for conditions only; the clock hurries, so that
a source's quiet times and retries are short.
"""

# ruff: noqa: S101 - a suite of tests

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import pytest

from tidemill.clock import Clock, SystemClock, Wakeup
from tidemill.errors import StoreUnavailable
from tidemill.events.event import Event, LoggedEvent
from tidemill.sources.contract import Source, SourceState
from tidemill.sources.pauses import PausableSource, SourcePauses
from tidemill.sources.state import TRANSITIONS, StateMachine
from tidemill.storage.contract import Append, Appended, DeadLetter, EventFilter, EventLog, Ledger, Store

__all__ = [
    "BadInput",
    "HurriedClock",
    "ProbedLog",
    "SourceAdapter",
    "SourceConformance",
    "dead_letters",
    "logged",
    "running",
    "until",
    "until_state",
]

#: Longest wait for anything, in seconds; only failing tests wait so long.
PATIENCE = 20.0
#: How much faster than the machine's the suite's clock runs.
HURRY = 50.0


@dataclass(frozen=True, slots=True)
class BadInput:
    """An input that must become a dead letter."""

    code: str
    body: bytes
    #: Coordinates that the dead letter must have, among others.
    coordinates: Mapping[str, Any] = field(default_factory=dict)


class SourceAdapter(Protocol):
    """The outside of one source, as a test sees it. One adapter stands for one folder, topic or sender."""

    #: Whether the source refuses bad input by a dead letter (False: it answers the sender and keeps nothing).
    keeps_bad_input: bool

    def build(self, log: EventLog, ledger: Ledger, clock: Clock) -> Source:
        """A new source that reads from this outside, as after a restart of the process."""

    async def put(self, keys: Sequence[str]) -> None:
        """Make one input per key, durable outside on return, whether the source runs or not.

        For a source that is pushed to: hand them to a sender that sends each until it is accepted.
        """

    async def put_bad(self) -> BadInput:
        """Make one input that the source must refuse."""

    def key_of(self, event: Event) -> str:
        """The key of the input that became `event`."""

    async def acknowledged(self, ledger: Ledger) -> set[str]:
        """The keys that the outside, or the source's own bookkeeping, holds for done with."""


class HurriedClock:
    """A `Clock`: the machine's, except that what is waited for comes `HURRY` times sooner."""

    def __init__(self) -> None:
        self._clock = SystemClock()

    def now_us(self) -> int:
        return self._clock.now_us()

    def steady_us(self) -> int:
        return self._clock.steady_us()

    def call_later(self, seconds: float, callback: Any) -> Wakeup:
        return self._clock.call_later(seconds / HURRY, callback)

    async def sleep(self, seconds: float) -> None:
        await self._clock.sleep(seconds / HURRY)


class ProbedLog:
    """An event log that does as it is told: passes on, fails before or after the commit, holds, is full."""

    def __init__(self, inner: EventLog) -> None:
        self._inner = inner
        self._failing: list[str] = []
        self._hold: str | None = None
        #: Set when an append is being held.
        self.held = asyncio.Event()
        #: Set when the source has asked for room and there was none.
        self.refused_room = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        #: Appends that were tried so far.
        self.tried = 0

    def fail(self, times: int, *, committed: bool) -> None:
        """The next appends fail; `committed`: although they were stored, as when the answer is lost."""
        self._failing += ["after" if committed else "before"] * times

    def fail_no_more(self) -> None:
        self._failing.clear()

    @property
    def failures_left(self) -> int:
        return len(self._failing)

    def hold(self, *, committed: bool) -> None:
        """Appends stop for ever, just before or just after their commit."""
        self._hold = "after" if committed else "before"

    def release(self) -> None:
        self._hold = None

    def fill(self) -> None:
        """No room until `drain`."""
        self._room.clear()

    def drain(self) -> None:
        self._room.set()

    @property
    def head(self) -> int:
        return self._inner.head

    @property
    def routed(self) -> int:
        return self._inner.routed

    async def append(self, job: Append) -> list[Appended]:
        self.tried += 1
        failing = self._failing.pop(0) if self._failing else None
        if failing == "before":
            raise StoreUnavailable("told to fail")
        await self._hold_if("before")
        answers = await self._inner.append(job)
        await self._hold_if("after")
        if failing == "after":
            raise StoreUnavailable("told to lose the answer")
        return answers

    async def _hold_if(self, point: str) -> None:
        if self._hold == point:
            self.held.set()
            await asyncio.Event().wait()

    def overload(self) -> int | None:
        if not self._room.is_set():
            self.refused_room.set()
            return 1
        return self._inner.overload()

    async def wait_for_room(self) -> None:
        if not self._room.is_set():
            self.refused_room.set()
        await self._room.wait()
        await self._inner.wait_for_room()

    async def read(self, after: int, limit: int, *, as_logged: bool = False) -> list[LoggedEvent]:
        return await self._inner.read(after, limit, as_logged=as_logged)

    async def filled(self, events: list[LoggedEvent]) -> list[LoggedEvent]:
        return await self._inner.filled(events)

    async def wait_for_event(self, after: int) -> None:
        await self._inner.wait_for_event(after)

    async def get(self, position: int) -> LoggedEvent | None:
        return await self._inner.get(position)

    async def at(self, positions: Sequence[int]) -> list[LoggedEvent]:
        return await self._inner.at(positions)

    async def find(self, source: str, event_id: str) -> LoggedEvent | None:
        return await self._inner.find(source, event_id)

    async def list(self, where: EventFilter, *, before: int | None, limit: int) -> list[LoggedEvent]:
        return await self._inner.list(where, before=before, limit=limit)


@asynccontextmanager
async def running(source: Source) -> AsyncIterator[Source]:
    """The source, running; cancelled at the end. An error of the source is raised here."""
    task = asyncio.ensure_future(source.run())
    try:
        yield source
    finally:
        ended = task.done()
        task.cancel()
        await asyncio.wait([task], timeout=PATIENCE)
        if ended or not task.cancelled():
            task.result()


async def logged(log: EventLog, count: int) -> list[LoggedEvent]:
    """All events, as soon as there are at least `count`."""
    async with asyncio.timeout(PATIENCE):
        while log.head < count:
            await log.wait_for_event(log.head)
    return await log.read(0, 1_000_000)


async def dead_letters(store: Store, count: int) -> list[DeadLetter]:
    """All dead letters, as soon as there are at least `count`."""
    async with asyncio.timeout(PATIENCE):
        while len(letters := await store.dead_letters.list(stage=None, before=None, limit=1000)) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.002)
    return [await _whole(store, letter.id) for letter in letters]


async def until(condition: Callable[[], bool]) -> None:
    """Return as soon as `condition` holds, for what has no signal to wait for."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.002)


async def until_state(source: Source, state: SourceState) -> None:
    """Return as soon as the source says that it is in `state`."""
    await until(lambda: source.status().state is state)


async def _whole(store: Store, letter_id: str) -> DeadLetter:
    letter = await store.dead_letters.get(letter_id)
    assert letter is not None
    return letter


def _keys(count: int, start: int = 0) -> list[str]:
    return [f"input-{number:04d}" for number in range(start, start + count)]


class SourceConformance:
    """Inherit, and give an `adapter` fixture."""

    @pytest.fixture
    def clock(self) -> HurriedClock:
        return HurriedClock()

    @pytest.fixture
    async def store(self, tmp_path: Path, clock: HurriedClock) -> AsyncIterator[Store]:
        from tidemill.storage.sqlite import open_store

        store = await open_store(tmp_path / "state" / "tidemill.db", clock=clock)
        yield store
        await store.close()

    @pytest.fixture
    def log(self, store: Store) -> ProbedLog:
        return ProbedLog(store.log)

    @pytest.fixture
    def source(self, adapter: SourceAdapter, log: ProbedLog, store: Store, clock: HurriedClock) -> Source:
        return adapter.build(log, store.ledger, clock)

    @pytest.fixture
    def restarted(self, adapter: SourceAdapter, log: ProbedLog, store: Store, clock: HurriedClock) -> Source:
        """The same source after a restart: nothing of the first one but what is on disk."""
        return adapter.build(log, store.ledger, clock)

    async def assert_exactly(
        self, keys: Sequence[str], *, adapter: SourceAdapter, log: EventLog, start: int = 9000
    ) -> None:
        """While the source runs: the log comes to hold every key once, and nothing else.

        One more input is sent through, so that whatever was on its way before it has come.
        """
        await logged(log, len(keys))
        last = _keys(1, start)
        await adapter.put(last)
        events = await logged(log, len(keys) + 1)
        assert Counter(adapter.key_of(entry.event) for entry in events) == Counter([*keys, *last])

    async def test_every_input_becomes_one_event(
        self, adapter: SourceAdapter, source: Source, log: ProbedLog
    ) -> None:
        async with running(source):
            await adapter.put(_keys(50))
            await self.assert_exactly(_keys(50), adapter=adapter, log=log)

    async def test_inputs_made_while_it_was_down_are_found(
        self, adapter: SourceAdapter, source: Source, restarted: Source, log: ProbedLog
    ) -> None:
        async with running(source):
            await adapter.put(_keys(5))
            await logged(log, 5)
        await adapter.put(_keys(5, 5))

        async with running(restarted):
            await self.assert_exactly(_keys(10), adapter=adapter, log=log)

    async def test_restart_announces_nothing_twice(
        self, adapter: SourceAdapter, source: Source, restarted: Source, log: ProbedLog
    ) -> None:
        async with running(source):
            await adapter.put(_keys(20))
            await logged(log, 20)

        async with running(restarted):
            await self.assert_exactly(_keys(20), adapter=adapter, log=log)

    async def test_cancelled_before_the_commit_loses_nothing(
        self, adapter: SourceAdapter, source: Source, restarted: Source, log: ProbedLog, store: Store
    ) -> None:
        log.hold(committed=False)
        async with running(source):
            await adapter.put(_keys(20))
            await asyncio.wait_for(log.held.wait(), PATIENCE)

        assert await adapter.acknowledged(store.ledger) == set()

        log.release()
        async with running(restarted):
            await self.assert_exactly(_keys(20), adapter=adapter, log=log)

    async def test_cancelled_after_the_commit_doubles_nothing(
        self, adapter: SourceAdapter, source: Source, restarted: Source, log: ProbedLog
    ) -> None:
        log.hold(committed=True)
        async with running(source):
            await adapter.put(_keys(20))
            await asyncio.wait_for(log.held.wait(), PATIENCE)

        log.release()
        async with running(restarted):
            await self.assert_exactly(_keys(20), adapter=adapter, log=log)

    @pytest.mark.parametrize("committed", [False, True], ids=["refused", "answer lost"])
    async def test_failing_commits_lose_and_double_nothing(
        self, adapter: SourceAdapter, source: Source, log: ProbedLog, committed: bool
    ) -> None:
        log.fail(4, committed=committed)

        async with running(source):
            await adapter.put(_keys(20))
            await self.assert_exactly(_keys(20), adapter=adapter, log=log)

        assert log.failures_left == 0

    async def test_nothing_is_acknowledged_while_commits_fail(
        self, adapter: SourceAdapter, source: Source, log: ProbedLog, store: Store
    ) -> None:
        log.fail(1_000_000, committed=False)

        async with running(source):
            await adapter.put(_keys(5))
            await until(lambda: log.tried >= 5)

            assert await adapter.acknowledged(store.ledger) == set()

        assert log.head == 0

    async def test_bad_input_is_kept_and_the_rest_goes_on(
        self, adapter: SourceAdapter, source: Source, restarted: Source, log: ProbedLog, store: Store
    ) -> None:
        if not adapter.keeps_bad_input:
            pytest.skip("answers the sender instead of keeping dead letters")
        await adapter.put(_keys(3))
        bad = await adapter.put_bad()
        await adapter.put(_keys(3, 3))

        async with running(source):
            await logged(log, 6)
            letters = await dead_letters(store, 1)
            refused = source.status().refused
        async with running(restarted):
            await self.assert_exactly(_keys(6), adapter=adapter, log=log)
            again = await dead_letters(store, 1)

        assert refused == 1
        assert [(letter.code, letter.body) for letter in letters] == [(bad.code, bad.body)]
        assert bad.coordinates.items() <= letters[0].coordinates.items()
        assert letters[0].origin == source.name
        assert [letter.id for letter in again] == [letters[0].id]

    async def test_bad_input_is_kept_once_when_the_answer_of_its_commit_is_lost(
        self, adapter: SourceAdapter, source: Source, log: ProbedLog, store: Store
    ) -> None:
        if not adapter.keeps_bad_input:
            pytest.skip("answers the sender instead of keeping dead letters")
        bad = await adapter.put_bad()
        log.fail(2, committed=True)

        async with running(source):
            await until(lambda: source.status().refused > 0)
            await self.assert_exactly([], adapter=adapter, log=log)
            letters = await dead_letters(store, 1)

        assert log.failures_left == 0
        assert [letter.body for letter in letters] == [bad.body]

    async def test_full_backlog_holds_inputs_back_until_there_is_room(
        self, adapter: SourceAdapter, source: Source, log: ProbedLog, store: Store
    ) -> None:
        log.fill()

        async with running(source):
            await adapter.put(_keys(10))
            await asyncio.wait_for(log.refused_room.wait(), PATIENCE)
            taken_when_full = log.tried
            acknowledged_when_full = await adapter.acknowledged(store.ledger)
            log.drain()
            await self.assert_exactly(_keys(10), adapter=adapter, log=log)

        assert taken_when_full == 0
        assert acknowledged_when_full == set()

    async def test_status_says_what_is(self, adapter: SourceAdapter, source: Source, log: ProbedLog) -> None:
        before = source.status()
        async with running(source):
            await until_state(source, SourceState.LIVE)
            await adapter.put(_keys(7))
            await logged(log, 7)
            await until(lambda: source.status().accepted == 7 and not source.status().lag)
            live = source.status()
        after = source.status()

        assert (before.state, before.accepted) == (SourceState.STARTING, 0)
        assert (live.state, live.accepted, live.refused, live.error) == (SourceState.LIVE, 7, 0, "")
        assert live.name == source.name
        assert live.last_event_at is not None
        assert after.state is SourceState.STOPPED
        assert after.accepted == 7

    async def test_store_that_fails_shows_in_the_status_until_it_heals(
        self, adapter: SourceAdapter, source: Source, log: ProbedLog
    ) -> None:
        log.fail(1_000_000, committed=False)

        async with running(source):
            await adapter.put(_keys(1))
            await until(lambda: source.status().error != "")
            failing = source.status().state
            log.fail_no_more()
            await logged(log, 1)
            await until_state(source, SourceState.LIVE)

        assert failing in {SourceState.STALLED, SourceState.DEGRADED}

    async def test_paused_source_takes_nothing_and_finds_everything_when_it_is_resumed(
        self,
        adapter: SourceAdapter,
        source: Source,
        log: ProbedLog,
        store: Store,
        clock: HurriedClock,
    ) -> None:
        pauses = SourcePauses(log, store.ledger, clock=clock)
        await pauses.load()

        async with running(PausableSource(source, pauses)) as paused:
            await adapter.put(_keys(5))
            await logged(log, 5)
            await pauses.pause(source.name)
            shown = paused.status()
            await until_state(source, SourceState.STOPPED)
            await adapter.put(_keys(5, 5))
            head_when_paused = log.head
            await pauses.resume(source.name)
            await self.assert_exactly(_keys(10), adapter=adapter, log=log)
            await until_state(paused, SourceState.LIVE)

        assert head_when_paused == 5
        assert shown.state is SourceState.PAUSED
        assert shown.paused_at is not None

    async def test_states_follow_the_table(
        self, adapter: SourceAdapter, source: Source, log: ProbedLog, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen: list[SourceState] = [source.status().state]
        honest = StateMachine.become

        def become(machine: StateMachine, state: SourceState, error: str = "") -> None:
            honest(machine, state, error)
            if machine.state is not seen[-1]:
                seen.append(machine.state)

        monkeypatch.setattr(StateMachine, "become", become)
        log.fail(2, committed=False)

        async with running(source):
            await adapter.put(_keys(3))
            await logged(log, 3)
            await until_state(source, SourceState.LIVE)

        assert seen[0] is SourceState.STARTING
        assert source.status().state is SourceState.STOPPED
        assert all(after in TRANSITIONS[before] for before, after in pairwise(seen))
