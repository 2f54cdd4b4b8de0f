"""What people asked of runs: to cancel them, to decide for them, to move them to another version.

A request is a row until what it comes to is recorded. One about a run that is not ours, or not read back yet, stays.
"""

from __future__ import annotations

from typing import Protocol

from tidemill.clock import Clock
from tidemill.engine.backlog import Backlog
from tidemill.engine.children import children_of
from tidemill.engine.live import LiveRun, empty_dag
from tidemill.engine.migration import is_migration, is_settled, move
from tidemill.engine.parking import Host as ParkingHost
from tidemill.engine.parking import Parking
from tidemill.engine.past import PastGate
from tidemill.engine.recovery import reread
from tidemill.engine.scheduler import Scheduler
from tidemill.engine.versions import Versions
from tidemill.runs import decide
from tidemill.runs.state import RunPhase, RunState
from tidemill.storage.contract import Request, Store

__all__ = ["Requests"]


class Host(ParkingHost, Protocol):
    """The live runs, which requests change."""

    answered: list[tuple[int, LiveRun | None]]
    stops: list[tuple[LiveRun, int]]
    reread: list[LiveRun]
    look_again: bool
    parking: Parking
    past: PastGate
    scheduler: Scheduler

    def enter(self, live: LiveRun) -> None:
        """A run is worked on from now on."""


class Requests:
    """Carries them out."""

    def __init__(
        self,
        store: Store,
        host: Host,
        *,
        versions: Versions,
        backlog: Backlog,
        clock: Clock,
        max_recoveries: int,
    ) -> None:
        self._store = store
        self._host = host
        self._versions = versions
        self._backlog = backlog
        self._clock = clock
        self._max_recoveries = max_recoveries
        self._shards = store.shards
        #: Version by id of queued runs that will begin with another one than they were handed over with.
        self.moved: dict[str, str] = {}

    async def carry_out(self) -> None:
        """Cancel what somebody asked to cancel; what is about a run that is not ours, or not read back yet, stays."""
        for request in await self._store.runs.requests(self._shards.filter):
            if any(request.id == answered for answered, _ in self._host.answered):
                continue
            live = None
            if is_migration(request):
                if not await self._move(request):
                    continue
            elif request.kind == "approval":
                live = await self._host.parking.approvals_ended(request.run_id)
                if live is None and await self._is_open(request.run_id):
                    continue
                self._host.answered.append((request.id, live))
                continue
            elif request.kind == "cancel":
                await self._host.wake_up([request.run_id])
                live = self._host.live.get(request.run_id) or await self._queued(request.run_id)
                if live is None and await self._is_open(request.run_id):
                    continue
            if live is not None:
                await self._cancel_inside(live)
                if live.dropped:
                    continue  # whoever has it now finds the request
                at = self._host.touch(live, self._clock.now_us())
                stops = decide.cancel(live.state, request.by, at, live.records)
                if not live.records:
                    self._host.touched.remove(live)
                self._host.stops.extend((live, index) for index in stops)
                self._host.queue_ready(live)  # what cleans up
            self._host.answered.append((request.id, live))

    async def _cancel_inside(self, live: LiveRun) -> None:
        """Ask for the end of the runs that a run waits for; first, since what is asked twice does no harm."""
        asked: set[str] = set()
        while further := set(children_of(live)) - asked:  # one may begin while the others are asked
            for child in sorted(further):
                await self._store.runs.request(child, "cancel", f"run {live.run_id}")
            asked |= further

    async def _move(self, request: Request) -> bool:
        """Let a run go on with another version; False: something of it is on its way to the disk, or it is not ours."""
        run = await self._store.runs.get(request.run_id)
        live = self._host.live.get(request.run_id)
        if run is None or run.ended_at is not None:
            return True
        if run.shard not in self._shards.owned:
            return False
        if live is not None and (live.records or not await is_settled(self._store, request, live.state)):
            self._host.look_again = True
            return False
        moved = await move(self._store, self._versions, request, run, clock=self._clock)
        if moved is None or moved.state == RunPhase.QUEUED:
            if moved is not None:
                self.moved[moved.run_id] = moved.version
            return True
        if live is not None:
            live.dropped = True
            live.held.clear()
            self._host.leave(live)
        limit = self._max_recoveries
        again = await reread(self._store, self._versions, moved, self._clock.now_us(), limit)
        if again is not None:
            past = await self._host.past.prepare(again, self._host.scheduler.plan(again.dag))
            self._host.enter(again)
            again.standing.past = past
            if live is None and again.state.phase is RunPhase.WAITING:
                self._host.parking.woken(again)
            decide.lose_attempts(
                again.state, again.at, again.records
            )  # none are: ends what has nothing left to do
            if again.records:
                self._host.touched.append(again)
            self._host.reread.append(again)
            self._host.queue_ready(again)
            self._host.parking.settle(again)
        return True

    async def _is_open(self, run_id: str) -> bool:
        run = await self._store.runs.get(run_id)
        return run is not None and run.ended_at is None

    async def _queued(self, run_id: str) -> LiveRun | None:
        run = await self._store.runs.get(run_id)
        if run is None or run.state != RunPhase.QUEUED or run.shard not in self._shards.owned:
            return None
        self._backlog.forget(run)
        dag = self._versions.loaded(run.dag, run.version) or empty_dag(run)
        live = LiveRun(run, dag, RunState(run_id, dag, run.parameters))
        self._host.enter(live)
        return live
