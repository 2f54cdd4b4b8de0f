"""Files on their way to being announced: seen, waiting to settle, due for reading, being read.

Belongs to the event loop; no I/O. Bounded: what does not fit is left to a later scan, which finds it again.

Rules:
1. A path is here once, whoever saw it how often; a hint during reading makes it due again afterwards.
2. A candidate is due when something says that it is complete, or when its quiet time has passed.
3. A candidate stays until its announcement is on disk, or until there is nothing to announce.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from tidemill.clock import Clock, Wakeup
from tidemill.sources.files.reader import Request
from tidemill.sources.files.version import Version

__all__ = ["Candidates"]


class _State(Enum):
    WAITING = auto()
    DUE = auto()
    READING = auto()


@dataclass(slots=True)
class _Candidate:
    path: str
    state: _State
    version: Version | None
    complete: bool
    #: Hinted at while it was being read.
    again: bool = False
    wakeup: Wakeup | None = None


class Candidates:
    """The files of one source that wait. `on_room` is called when it had been full and is half empty."""

    def __init__(
        self, clock: Clock, *, quiet_seconds: float, limit: int, on_room: Callable[[], None]
    ) -> None:
        self._clock = clock
        self._quiet_seconds = quiet_seconds
        self._limit = limit
        self._on_room = on_room
        self._candidates: dict[str, _Candidate] = {}
        self._due: deque[_Candidate] = deque()
        self._some_due = asyncio.Event()
        self._overflowed = False

    def __len__(self) -> int:
        return len(self._candidates)

    @property
    def room(self) -> int:
        """How many more fit; 1 when none does, so that a scan can tell that there are more."""
        return max(1, self._limit - len(self._candidates))

    def __contains__(self, path: str) -> bool:
        return path in self._candidates

    def see(self, path: str, version: Version | None, *, complete: bool) -> None:
        """A file was seen: by a scan (with its version) or by the watch (without).

        A sighting waits for its quiet time unless it is `complete`; a hint is followed at once, and makes a
        file due again that is just being read.
        """
        candidate = self._candidates.get(path)
        if candidate is None:
            self._add(path, version, complete)
        elif version is None:
            candidate.complete = candidate.complete or complete
            if candidate.state is _State.READING:
                candidate.again = True
            elif candidate.state is _State.WAITING and complete:
                self._make_due(candidate)

    def expect_scan(self) -> None:
        """A scan found more than fits; `on_room` asks for the next one."""
        self._overflowed = True
        self._tell_room()

    async def take(self, limit: int) -> list[Request]:
        """Up to `limit` files that are due, at least one; each must be handed to `settle_later` or `drop`."""
        while not self._due:
            self._some_due.clear()
            await self._some_due.wait()
        taken = []
        for _ in range(min(limit, len(self._due))):
            candidate = self._due.popleft()
            candidate.state = _State.READING
            taken.append(Request(candidate.path, candidate.version, candidate.complete))
            candidate.complete = False
        return taken

    def give_back(self, request: Request) -> None:
        """A taken file was not looked at: it is due again, before others."""
        candidate = self._candidates[request.path]
        candidate.complete = candidate.complete or request.complete
        candidate.again = False
        candidate.state = _State.DUE
        self._due.appendleft(candidate)
        self._some_due.set()

    def settle_later(self, path: str, version: Version, seconds: float | None = None) -> None:
        """A taken file is not complete: it is due again after the quiet time, or when it is told complete.

        `seconds`: how long to wait instead; it cannot be told complete before.
        """
        candidate = self._candidates[path]
        candidate.version = version
        if candidate.again and candidate.complete and seconds is None:
            self._make_due(candidate)
        else:
            self._wait(candidate, seconds)

    def drop(self, path: str) -> None:
        """A taken file was announced, or there is nothing to announce."""
        candidate = self._candidates[path]
        if candidate.again:
            candidate.version = None
            self._make_due(candidate)
        else:
            del self._candidates[path]
            self._tell_room()

    def stop(self) -> None:
        """Forget everything; no timer is left."""
        for candidate in self._candidates.values():
            if candidate.wakeup is not None:
                candidate.wakeup.cancel()
        self._candidates.clear()
        self._due.clear()

    def _add(self, path: str, version: Version | None, complete: bool) -> None:
        if len(self._candidates) >= self._limit:
            self._overflowed = True
            return
        candidate = _Candidate(path, _State.WAITING, version, complete)
        self._candidates[path] = candidate
        if complete or version is None:
            self._make_due(candidate)
        else:
            self._wait(candidate)

    def _wait(self, candidate: _Candidate, seconds: float | None = None) -> None:
        candidate.state = _State.WAITING
        candidate.again = False
        candidate.wakeup = self._clock.call_later(
            self._quiet_seconds if seconds is None else seconds, lambda: self._make_due(candidate)
        )

    def _make_due(self, candidate: _Candidate) -> None:
        if candidate.wakeup is not None:
            candidate.wakeup.cancel()
            candidate.wakeup = None
        candidate.state = _State.DUE
        candidate.again = False
        self._due.append(candidate)
        self._some_due.set()

    def _tell_room(self) -> None:
        if self._overflowed and len(self._candidates) <= self._limit // 2:
            self._overflowed = False
            self._on_room()
