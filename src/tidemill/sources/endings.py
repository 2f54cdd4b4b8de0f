"""The ends of runs, as the store tells of them: one follower of the log for all who wait in this process.

It follows only while somebody waits. Who waits for a run listens first and looks then, so that an end that is
committed in between is seen one way or the other.
"""

from __future__ import annotations

import asyncio

from tidemill.clock import Clock
from tidemill.errors import StorageError
from tidemill.events.event import JSON
from tidemill.events.lifecycle import dag_source, run_type
from tidemill.runs.state import FINAL_RUN_STATES
from tidemill.storage.contract import Store

__all__ = ["Endings"]

#: Events read at once by the follower.
_READ = 512
_STORE_RETRY_SECONDS = 0.5

_TYPES = frozenset(run_type(state.value) for state in FINAL_RUN_STATES)


class Endings:
    """Everybody who waits for a run to end."""

    def __init__(self, store: Store, *, clock: Clock) -> None:
        self._log = store.log
        self._runs = store.runs
        self._clock = clock
        self._waiting: dict[str, list[asyncio.Future[dict[str, JSON]]]] = {}
        self._follower: asyncio.Task[None] | None = None

    async def wait(self, run_id: str) -> dict[str, JSON]:
        """The data of the run's completion event, at once when it has ended already."""
        ending = self._listen(run_id)
        try:
            return await self._read(run_id) or await ending
        finally:
            self._forget(run_id, ending)

    async def _read(self, run_id: str) -> dict[str, JSON] | None:
        while True:
            try:
                summary = await self._runs.get(run_id)
                if summary is None or summary.state not in FINAL_RUN_STATES:
                    return None
                found = await self._log.find(dag_source(summary.dag), f"{run_id}/{summary.state}")
            except StorageError:
                await self._clock.sleep(_STORE_RETRY_SECONDS)
            else:
                if found is not None and isinstance(found.event.data, dict):
                    return found.event.data
                return {"dag": summary.dag, "state": summary.state}

    def _listen(self, run_id: str) -> asyncio.Future[dict[str, JSON]]:
        loop = asyncio.get_running_loop()
        ending: asyncio.Future[dict[str, JSON]] = loop.create_future()
        self._waiting.setdefault(run_id, []).append(ending)
        if self._follower is None or self._follower.done():
            self._follower = loop.create_task(self._follow(self._log.head), name="endings")
        return ending

    def _forget(self, run_id: str, ending: asyncio.Future[dict[str, JSON]]) -> None:
        waiting = self._waiting.get(run_id, [])
        if ending in waiting:
            waiting.remove(ending)
        if not waiting:
            self._waiting.pop(run_id, None)
        if not self._waiting and self._follower is not None:
            self._follower.cancel()
            self._follower = None

    async def _follow(self, position: int) -> None:
        while True:
            try:
                await self._log.wait_for_event(position)
                events = await self._log.read(position, _READ)
            except StorageError:
                await self._clock.sleep(_STORE_RETRY_SECONDS)
                continue
            for logged in events:
                position = logged.position
                if logged.event.type in _TYPES:
                    for ending in self._waiting.pop(logged.event.subject or "", ()):
                        if not ending.done():
                            ending.set_result(logged.event.data)
