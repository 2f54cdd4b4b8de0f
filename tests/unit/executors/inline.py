"""A cluster that is this process: the whole contract (bytes out, bytes back, code loaded anew) without an engine.

A stopped attempt is reported at once; its thread goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from tidemill.executors.remote.capacity import Machine
from tidemill.executors.remote.cluster import Call, Submitted
from tidemill.executors.remote.worker import perform
from tidemill.executors.threads import Threads

__all__ = ["InlineCluster"]

_HUGE = float(1 << 40)


class InlineCluster:
    """See `Cluster`; it has whatever is asked for."""

    sets_environment = True
    stop_seconds = 0.0
    lanes = 0

    def __init__(self, name: str, *, workers: int = 4, machine: Machine | None = None) -> None:
        self.name = name
        self._machine = machine
        self._threads: Threads[bytes] = Threads(workers, name=name)

    async def connect(self) -> None:
        """It is here."""

    def watch(self, lost: Callable[[], None]) -> None:
        """It is never lost."""

    async def reach(self) -> None:
        """It is here."""

    async def rejoin(self) -> None:
        """It was never gone."""

    async def machines(self) -> Sequence[Machine]:
        return [self._machine or Machine("here", cpu=_HUGE, memory=_HUGE, gpu=_HUGE, custom=_Endless())]

    def submit(self, call: Call, machines: Sequence[Machine]) -> Submitted:
        loop, on_start = asyncio.get_running_loop(), call.on_start
        tell = None if on_start is None else lambda: loop.call_soon_threadsafe(on_start)
        return _Single(asyncio.wrap_future(self._threads.submit(lambda: perform(call.request, tell))))

    def submit_pack(self, request: bytes, lane: int) -> Submitted:
        raise NotImplementedError("there are no warm workers")

    async def close(self) -> None:
        self._threads.close()


class _Endless(dict[str, float]):
    def get(self, name: str, default: float | None = None) -> float:  # type: ignore[override]
        return _HUGE


class _Single:
    def __init__(self, answer: asyncio.Future[bytes]) -> None:
        self._answer = answer

    def reply(self) -> Awaitable[bytes]:
        return self._answer

    def stop(self) -> None:
        self._answer.cancel()
