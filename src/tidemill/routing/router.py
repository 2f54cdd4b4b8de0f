"""The router: follows the event log and commits, per batch, what became of its events.

1. Dispositions, runs, deliveries and the router's own cursor are one transaction; whatever dies in between, the same
   events are routed again from the cursor and nothing is doubled.
2. The next batch is matched while the last one is being committed; batches are committed in order.
3. Events that nothing matches move the cursor only now and then: matching them again after a crash changes nothing.
"""

from __future__ import annotations

import asyncio
import logging

from tidemill.clock import Clock
from tidemill.errors import CursorMoved, StoreUnavailable
from tidemill.events.event import LoggedEvent
from tidemill.project.model import Project
from tidemill.routing.dispositions import Routed, Routes
from tidemill.storage.commit import ROUTER_CURSOR
from tidemill.storage.contract import RouteBatch, Store
from tidemill.storage.pauses import pause_after

__all__ = ["Router"]

logger = logging.getLogger(__name__)

_BATCH = 512
#: Unmatched events after which the cursor is written all the same.
_IDLE_EVENTS = 4096
#: Events matched between two looks at other work: matching is the longest stretch that does not await.
_STRETCH = 64


class Router:
    """Turns logged events into runs and deliveries."""

    def __init__(self, store: Store, project: Project, *, clock: Clock, max_hops: int) -> None:
        self._store = store
        self._clock = clock
        self._routes = Routes(project, max_hops=max_hops)
        self._committed = store.log.routed
        #: How far events were looked at.
        self._position = self._committed
        self._flight: asyncio.Task[None] | None = None

    @property
    def is_idle(self) -> bool:
        """True when every event of the log has been looked at and nothing is on its way to the disk."""
        return self._flight is None and self._position >= self._store.log.head

    async def run(self) -> None:
        """Route until cancelled; raises what makes it impossible to go on."""
        log = self._store.log
        if self._store.shards.shared:  # others may have routed since
            self._committed = await self._read_cursor()
            self._position = self._committed
        position = self._committed
        try:
            while True:
                if log.head <= position:
                    await self._land()  # nothing to match meanwhile, and a failure must not wait for an event
                    await log.wait_for_event(position)
                events = await self._read(position)
                routed, at = Routed(), self._clock.now_us()
                for count, logged in enumerate(events, 1):
                    self._routes.route(logged, at, routed)
                    if not count % _STRETCH:
                        await asyncio.sleep(0)
                position = events[-1].position
                await self._land()
                if not routed.is_empty or position - self._committed >= _IDLE_EVENTS:
                    self._take_off(routed, position)
                self._position = position
        finally:
            if self._flight is not None:
                self._flight.cancel()

    async def _read_cursor(self) -> int:
        failures = 0
        while True:
            try:
                return int(await self._store.ledger.cursor(ROUTER_CURSOR) or 0)
            except StoreUnavailable:
                failures += 1
                await self._clock.sleep(pause_after(failures))

    async def _read(self, position: int) -> list[LoggedEvent]:
        failures = 0
        while True:
            try:
                return await self._store.log.read(position, _BATCH)
            except StoreUnavailable:
                failures += 1
                await self._clock.sleep(pause_after(failures))

    def _take_off(self, routed: Routed, position: int) -> None:
        batch = RouteBatch(
            expected=self._committed,
            cursor=position,
            dispositions=routed.dispositions,
            runs=routed.runs,
            deliveries=routed.deliveries,
            dead_letters=routed.dead_letters,
        )
        self._committed = position
        self._flight = asyncio.get_running_loop().create_task(self._commit(batch))

    async def _land(self) -> None:
        if self._flight is not None:
            await self._flight
            self._flight = None

    async def _commit(self, batch: RouteBatch) -> None:
        failures = 0
        while True:
            try:
                await self._store.runs.route(batch)
                break
            except CursorMoved as moved:
                if failures and moved.found == str(batch.cursor):
                    break  # an earlier try was committed and its answer lost
                raise
            except StoreUnavailable:
                failures += 1
                await self._clock.sleep(pause_after(failures))
        for letter in batch.dead_letters:
            facts = {"position": letter.position, "trigger": letter.origin, "code": letter.code}
            logger.warning("router.dead_lettered", extra=facts)
