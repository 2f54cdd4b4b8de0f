"""Waits for the runs that an event started, for senders that would rather have the result than a receipt.

Rules:

1. Waiting changes nothing: the event is on disk before it begins, and a sender that goes away is let go.
2. Bounded in senders and in seconds; beyond the bound the sender gets its receipt at once.
3. Other stages are not asked: everything here is read from the store, as it was committed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tidemill.clock import Clock
from tidemill.errors import StorageError
from tidemill.events.event import JSON, Event
from tidemill.project.model import Project
from tidemill.sources.answers import Receive
from tidemill.sources.endings import Endings
from tidemill.storage.contract import Appended, Disposition, Store

__all__ = ["Outcome", "Outcomes"]

#: Pauses between looks at how far events are routed, in seconds: at first, and at most (doubling).
_FIRST_LOOK_SECONDS, _LAST_LOOK_SECONDS = 0.002, 0.1
#: Longest pause between looks at what became of an event that an admission holds.
_LAST_ASK_SECONDS = 0.25
#: Triggers up to which it is counted which of them an event matches.
_MAX_ASKED_TRIGGERS = 1000


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one event so far."""

    #: Started runs: id, DAG, trigger, state, and result or error of those that ended.
    runs: Sequence[dict[str, JSON]] = ()
    #: Whether it started runs and all of them have ended.
    is_complete: bool = False


@dataclass(slots=True)
class _Started:
    """One run of an event."""

    run_id: str
    trigger: str
    #: The completion event's data once the run has ended.
    ended: dict[str, JSON] | None = None

    def shown(self) -> dict[str, JSON]:
        """The run as its sender sees it; without a state while it goes on."""
        if self.ended is None:
            return {"run": self.run_id, "trigger": self.trigger, "state": None}
        told = {name: self.ended.get(name) for name in ("dag", "state", "result", "error")}
        return {"run": self.run_id, "trigger": self.trigger, **told}


@dataclass(slots=True)
class _Wait:
    """One event that is waited for."""

    position: int
    #: Triggers that it matches, each of which will have a disposition; None: not counted.
    triggers: int | None
    started: Sequence[_Started] = ()
    #: Whether every run that it started is among them.
    is_known: bool = False

    def look(self, found: Sequence[Disposition]) -> None:
        """Take what was recorded of it until now."""
        self.started = [_Started(one.run_id, one.trigger) for one in found if one.run_id is not None]
        self.is_known = self.triggers is None or len(found) >= self.triggers

    def outcome(self) -> Outcome:
        """What came of it so far."""
        has_ended = bool(self.started) and all(one.ended is not None for one in self.started)
        return Outcome([one.shown() for one in self.started], self.is_known and has_ended)


class Outcomes:
    """Everybody who waits in this process."""

    def __init__(
        self,
        store: Store,
        *,
        project: Callable[[], Project],
        clock: Clock,
        max_seconds: int,
        max_waiting: int,
        stopping: asyncio.Event | None = None,
    ) -> None:
        """`stopping` is set when the service drains: everybody gets a receipt then."""
        self._log = store.log
        self._runs = store.runs
        self._project = project
        self._clock = clock
        self._max_seconds = max_seconds
        self._max_waiting = max_waiting
        self._stopping = stopping or asyncio.Event()
        self._waiting = 0
        self._endings = Endings(store, clock=clock)

    def granted(self, seconds: int, *, events: int = 1) -> int:
        """How long a sender that would wait `seconds` for so many events may; 0 when it cannot be waited for now."""
        if self._waiting + events > self._max_waiting or self._stopping.is_set():
            return 0
        return min(seconds, self._max_seconds)

    async def wait(
        self, appended: Sequence[tuple[Event, Appended]], *, seconds: int, receive: Receive
    ) -> list[Outcome]:
        """What came of each appended event: complete, or as far as it is when the time is up.

        Returns at once when nothing will come of them. `receive` is the request's, whose body was read: a
        client that goes away is not waited for.
        """
        waits = [_Wait(answer.position, self._count_triggers(event)) for event, answer in appended]
        active = [wait for wait in waits if wait.triggers != 0]
        self._waiting += len(active)
        try:
            if active:
                work = asyncio.gather(*[self._collect(wait) for wait in active])
                await self._race(work, seconds=seconds, receive=receive)
        finally:
            self._waiting -= len(active)
        return [wait.outcome() for wait in waits]

    def _count_triggers(self, event: Event) -> int | None:
        triggers = self._project().triggers
        if len(triggers) > _MAX_ASKED_TRIGGERS:
            return None
        return sum(one.rule.matches(event) for one in triggers)

    async def _race(self, work: asyncio.Future[Any], *, seconds: int, receive: Receive) -> None:
        """Until the work is done, the time is up, the client is gone or the service stops."""
        others = [
            asyncio.ensure_future(one)
            for one in (self._clock.sleep(seconds), _gone(receive), self._stopping.wait())
        ]
        try:
            await asyncio.wait([work, *others], return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                work.result()
        finally:
            for task in (work, *others):
                task.cancel()
            await asyncio.gather(work, *others, return_exceptions=True)

    async def _collect(self, wait: _Wait) -> None:
        await self._wait_until_routed(wait.position)
        pause = _FIRST_LOOK_SECONDS
        while True:
            with contextlib.suppress(StorageError):
                wait.look(await self._runs.dispositions(wait.position))
            if wait.is_known:
                break
            # A trigger's admission holds the event: its disposition comes with the run, or when there is none.
            await self._clock.sleep(pause)
            pause = min(pause * 2, _LAST_ASK_SECONDS)
        await asyncio.gather(*[self._wait_for_end(one) for one in wait.started])

    async def _wait_until_routed(self, position: int) -> None:
        pause = _FIRST_LOOK_SECONDS
        while self._log.routed < position:
            await self._clock.sleep(pause)
            pause = min(pause * 2, _LAST_LOOK_SECONDS)

    async def _wait_for_end(self, one: _Started) -> None:
        one.ended = await self._endings.wait(one.run_id)


async def _gone(receive: Receive) -> None:
    """Return when the client is."""
    while (await receive())["type"] != "http.disconnect":
        pass
