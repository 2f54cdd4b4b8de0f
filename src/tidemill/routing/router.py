"""The router: follows the event log and commits, per batch, what became of its events.

1. Dispositions, runs, deliveries and the router's own cursor are one transaction; whatever dies in between, the same
   events are routed again from the cursor and nothing is doubled.
2. The next batch is matched while the last one is being committed; batches are committed in order.
3. Events that nothing matches move the cursor only now and then: matching them again after a crash changes nothing.
4. What admission decides by time is committed like what it decides by events, at the place where the cursor stands. It
   is decided when the log says that nothing earlier is left to be routed, and never before it is due.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from tidemill.clock import Clock
from tidemill.errors import CursorMoved, StoreUnavailable
from tidemill.events.event import LoggedEvent
from tidemill.project.model import Project
from tidemill.routing.admission.gate import Gate
from tidemill.routing.derived import Derivations, Derived
from tidemill.routing.dispositions import Routed, Routes
from tidemill.routing.enriched import Enriched
from tidemill.routing.trees import Trees, ends_of, runs_of
from tidemill.routing.waits import Awaited
from tidemill.storage.commit import ADMISSION_CURSOR, PATTERNS_CURSOR, ROUTER_CURSOR
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

    def __init__(
        self, store: Store, project: Project, *, clock: Clock, max_hops: int, max_held: int = 100_000
    ) -> None:
        self._store = store
        self._clock = clock
        self._project = project
        self._enriched = Enriched(project, clock=clock)
        self._derivations = Derivations(project, self._enriched, max_hops=max_hops)
        self._routes = Routes(project, max_hops=max_hops, enriched=self._enriched)
        self._routes.awaited = self._awaited = Awaited(store.waits)
        self._gate = Gate(store, project, max_held=max_held, enriched=self._enriched)
        self._trees = Trees(store, waits=self._gate.waits)
        self._committed = store.log.routed
        #: How far events were looked at.
        self._position = self._committed
        self._flight: asyncio.Task[None] | None = None
        #: True once what waited when it began has been read back.
        self._has_begun = False
        #: The alarm that has just rung, until what it is about has been decided.
        self._rung: int | None = None

    @property
    def is_idle(self) -> bool:
        """True when every event of the log has been looked at and nothing is on its way to the disk."""
        is_done = self._position >= self._store.log.head and self._trees.is_idle
        return self._has_begun and is_done and self._flight is None and self._rung is None

    @property
    def held(self) -> int:
        """Events that wait in admission."""
        return self._gate.held

    async def run(self) -> None:
        """Route until cancelled; raises what makes it impossible to go on."""
        try:
            while True:
                try:
                    await self._begin()
                    while True:
                        await self._turn()
                except StoreUnavailable:
                    # What was decided since the last commit is forgotten, and decided again from the database.
                    await self._land()
                    await self._clock.sleep(pause_after(1))
                except CursorMoved as moved:
                    if moved.name != PATTERNS_CURSOR:
                        raise
                    # Somebody waits for more than we know of: nothing of that batch was committed.
                    self._flight, self._position = None, -1
        finally:
            if self._flight is not None:
                self._flight.cancel()

    async def _begin(self) -> None:
        """Read back where the last router stood, and what waited then."""
        if self._store.shards.shared or self._position != self._committed:  # others may have routed since
            self._committed = await self._read_cursor()
        self._position = self._committed
        await self._awaited.load()
        project = self._project
        await self._store.definitions.begin(project.version, project.written, position=self._committed)
        self._routes.made.load(await self._store.subscriptions.at(self._committed))
        self._trees.forget()
        await self._trees.follow(self._routes.wants_trees)
        routed, now = Routed(), self._clock.now_us()
        await self._gate.load(routed, now)
        self._take_off(routed, self._position, horizon=0, now=now)
        self._has_begun = True

    async def _turn(self) -> None:
        """Route the events that are there, or wait for some, or for something to be due."""
        log, position, gate = self._store.log, self._position, self._gate
        if log.head <= position:
            await self._land()  # nothing to match meanwhile, and a failure must not wait for an event
            await self._trees.settle(position, cursor=self._committed)
            await self._look_again(position)
            await self._rest(position)
        routed, now = Routed(), max(self._clock.now_us(), self._rung or 0)
        events = await self._read(position) if log.head > position else []
        if self._enriched.is_used:
            await self._enriched.prepare(events)
        derived = Derived(routed.derived, routed.dead_letters)
        for count, logged in enumerate(events, 1):
            self._routes.route(logged, now, routed)
            if self._derivations.is_used:
                self._derivations.derive(logged, now, derived)
            if not count % _STRETCH:
                await asyncio.sleep(0)
        if events:
            position = events[-1].position
            if self._trees.followed:
                self._trees.seen(events)
                routed.tree_ends = ends_of(events)
        horizon = now if log.head <= position else events[-1].received_at
        if gate.is_used:
            await gate.work(routed, now)
            await gate.ring(routed, horizon, now)
        await self._land()
        await self._trees.settle(self._position, cursor=self._committed)
        await self._trees.follow(self._routes.wants_trees)
        gate.landed(horizon)
        self._trees.taken_off()
        self._take_off(routed, position, horizon=horizon, now=now)
        if self._flight is None:
            self._trees.landed()
        self._position = position
        self._rung = None

    async def _look_again(self, position: int) -> None:
        """Events that matched nothing are matched again when more is waited for by now: no batch would tell."""
        if position == self._committed:
            return
        before = self._awaited.version or "0"
        version = await self._read_ledger(PATTERNS_CURSOR)
        if version != before:
            raise CursorMoved(PATTERNS_CURSOR, before, version)

    async def _rest(self, position: int) -> None:
        """Return when there is an event after `position`, or an alarm rings."""
        due = self._gate.next_due
        if due is None:
            await self._store.log.wait_for_event(position)
            return
        loop = asyncio.get_running_loop()
        rung: asyncio.Future[None] = loop.create_future()

        def ring() -> None:
            self._rung = due
            if not rung.done():
                rung.set_result(None)

        alarm = self._clock.call_later((due - self._clock.now_us()) / 1_000_000, ring)
        arrival = loop.create_task(self._store.log.wait_for_event(position))
        try:
            await asyncio.wait([rung, arrival], return_when=asyncio.FIRST_COMPLETED)
        finally:
            alarm.cancel()
            arrival.cancel()

    async def _read_cursor(self) -> int:
        return int(await self._read_ledger(ROUTER_CURSOR))

    async def _read_ledger(self, name: str) -> str:
        failures = 0
        while True:
            try:
                return await self._store.ledger.cursor(name) or "0"
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

    def _take_off(self, routed: Routed, position: int, *, horizon: int, now: int) -> None:
        """Begin to commit what there is to commit."""
        admission = self._gate.changes(routed, horizon, now)
        if routed.is_empty and admission is None and position - self._committed < _IDLE_EVENTS:
            return
        batch = RouteBatch(
            expected=self._committed,
            cursor=position,
            dispositions=routed.dispositions,
            runs=routed.runs,
            deliveries=routed.deliveries,
            dead_letters=routed.dead_letters,
            admission=admission,
            tree_runs=runs_of(routed.runs) if self._trees.followed else (),
            tree_ends=routed.tree_ends,
            unsubscribed=routed.unsubscribed,
            derived=routed.derived,
            waits=routed.waits,
            patterns=self._awaited.version,
        )
        self._committed = position
        self._flight = asyncio.get_running_loop().create_task(self._commit(batch, routed.freed))

    async def _land(self) -> None:
        if self._flight is not None:
            await self._flight
            self._flight = None

    async def _commit(self, batch: RouteBatch, freed: Sequence[str]) -> None:
        failures = 0
        while True:
            try:
                await self._store.runs.route(batch)
                break
            except CursorMoved as moved:
                if failures and _is_committed(batch, moved):
                    break  # an earlier try was committed and its answer lost
                raise
            except StoreUnavailable:
                failures += 1
                await self._clock.sleep(pause_after(failures))
        self._trees.landed()
        if self._trees.followed:
            self._trees.ended([*(correlation for correlation, _ in batch.tree_ends), *freed])
        for letter in batch.dead_letters:
            facts = {"position": letter.position, "trigger": letter.origin, "code": letter.code}
            logger.warning("router.dead_lettered", extra=facts)


def _is_committed(batch: RouteBatch, moved: CursorMoved) -> bool:
    """Whether what was found in place of what was expected is what this very batch has written."""
    if moved.name == ADMISSION_CURSOR and batch.admission is not None:
        return moved.found == str(batch.admission.turn + 1)
    return batch.cursor != batch.expected and moved.found == str(batch.cursor)
