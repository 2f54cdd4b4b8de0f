"""The engine: takes what happened, lets the core decide, records the decisions, and acts on what is on disk.

1. At most one batch of decisions is being committed at a time; what is decided meanwhile goes into the next batch.
2. Nothing is acted on before its records are on disk: attempts begin, timers are set and runs are let go in `_act`,
   which only sees committed rows.
3. A batch that could not be committed is handed in again, unchanged, until it is on disk. Meanwhile nothing is acted
   on; outcomes wait. Rows are idempotent by (run, sequence), so that a lost answer does no harm.
4. Live runs are changed by nobody else.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from tidemill.clock import Clock
from tidemill.dag.definition import Dag
from tidemill.engine.children import requests
from tidemill.engine.completion import completion
from tidemill.engine.decisions import Decisions
from tidemill.engine.durations import Learner
from tidemill.engine.live import LiveRun
from tidemill.engine.reuse import reuse_of
from tidemill.engine.scheduler import Grant, Scheduler
from tidemill.engine.waiting import wait_changes, waiting_event
from tidemill.errors import CursorMoved, ShardLost, StoreUnavailable, TaskFailed
from tidemill.events.event import Event
from tidemill.runs.attempts import Executor, Outcome, OutcomeKind
from tidemill.runs.records import encode
from tidemill.runs.state import FINAL_RUN_STATES, RunPhase, TaskState
from tidemill.settings import Settings
from tidemill.storage.contract import Recorded, RunEnd, Store
from tidemill.storage.pauses import pause_after
from tidemill.telemetry.metrics import Metrics

__all__ = ["Engine"]

logger = logging.getLogger(__name__)

#: Longest message of a failure that is ours to word.
_MESSAGE = 4096

#: Turns of the event loop until a batch that takes off is in the writer's hands: its own task's, and the writer's.
_HANDING_IN = 2

#: A run, its row on its way to the disk, and the tasks that start or wait for their retry when it is there.
_Flight = list[tuple[LiveRun, Recorded, list[int], list[int]]]
#: Requests whose answer is in such rows, each with its run.
_Answered = Sequence[tuple[int, LiveRun | None]]


class Engine:
    """Runs what routing has queued."""

    def __init__(
        self,
        store: Store,
        dags: Mapping[str, Dag],
        executors: Mapping[str, Executor],
        *,
        clock: Clock,
        settings: Settings,
        metrics: Metrics,
        random_source: random.Random | None = None,
        root: Path | None = None,
        learner: Learner | None = None,
    ) -> None:
        """`root` is the project's folder, where older versions of workflow files find the modules beside them."""
        self._store = store
        self._clock = clock
        #: Keeps nothing by itself: who made it loads and saves it.
        self.learner = learner or Learner(store, clock=clock)
        #: By `TaskNode.executor`.
        self._executors = executors
        self._decisions = Decisions(
            store,
            dags,
            clock=clock,
            settings=settings,
            metrics=metrics,
            random_source=random_source or random.Random(),  # noqa: S311 - spreads retries, guards nothing
            root=root,
            wake=self._notify,
        )
        self._outcomes: list[tuple[Grant, Outcome]] = []
        self._due: list[tuple[LiveRun, int]] = []
        self._requests = True
        self._gained: frozenset[int] = frozenset()
        self._flight: asyncio.Task[None] | None = None
        self._failure: Exception | None = None
        self._drained: asyncio.Future[None] | None = None
        self._woken = True
        self._wake: asyncio.Future[None] | None = None

    @property
    def live_runs(self) -> int:
        """Runs that have started and not ended."""
        return len(self._decisions.live)

    @property
    def parked_runs(self) -> int:
        """Runs that only wait, of which nothing is in memory."""
        return self._decisions.parking.count

    @property
    def running_tasks(self) -> int:
        """Attempts that run now, or whose start is on its way to the disk."""
        return self._decisions.scheduler.running

    @property
    def waiting_tasks(self) -> int:
        """Tasks that wait for their turn."""
        return self._decisions.scheduler.waiting

    @property
    def scheduler(self) -> Scheduler:
        """What decides whose turn it is: its limits may be changed at any time, followed by `notify`."""
        return self._decisions.scheduler

    def notify(self) -> None:
        """Something that decides what may start has changed."""
        self._notify()

    @property
    def is_waiting(self) -> bool:
        """True while there is nothing to decide; attempts may be running, and decisions on their way to the disk."""
        return not self._woken and self._wake is not None and not self._wake.done()

    @property
    def at_work(self) -> int:
        """How many are at work or wait for their next try: the one that decides, and a batch on its way to the disk."""
        return (not self.is_waiting) + (self._flight is not None) + self._decisions.parking.is_reading

    async def recover(self) -> None:
        """Read back what was live when the last process ended; call once before `run`."""
        self._store.runs.new_runs.listen(self._notify)
        self._store.runs.new_requests.listen(self._notify_request)
        self._store.shards.listen(self._shards_changed)
        self._store.waits.hits.listen(self._decisions.parking.hit)
        await self.learner.load()
        await self._decisions.recover()
        for live in self._decisions.live.values():
            self._set_timers(live, list(live.state.retry_at))

    async def replace_dags(self, dags: Mapping[str, Dag]) -> None:
        """Other definitions are loaded; their sources are on disk on return. Runs end on what they began with."""
        await self._decisions.replace_dags(dags)
        self._notify()

    async def run(self) -> None:
        """Work until cancelled; raises what makes it impossible to go on."""
        try:
            while True:
                if not self._woken:
                    self._wake = asyncio.get_running_loop().create_future()
                    await self._wake
                self._woken = False
                await self._decide()
                self._take_off()
                self._tell_drained()
        finally:
            if self._flight is not None:
                self._flight.cancel()
            self._decisions.parking.close()
            if self._drained is not None and not self._drained.done():
                self._drained.set_result(None)

    async def drain(self) -> None:
        """Start nothing new and return when no attempt runs and everything is on disk, or `run` has ended."""
        self._decisions.draining = True
        self._drained = asyncio.get_running_loop().create_future()
        self._notify()
        await self._drained

    async def let_go(self) -> None:
        """Record that the attempts which still ran were cut off; call after `drain` and after executors are closed.

        Whoever goes on with their runs then begins them again, and does not take a stop for a death. Gives up on
        records that can never be written.
        """
        self._decisions.lose_attempts()
        while self._failure is None and (self._flight is not None or self._decisions.touched):
            if self._flight is None:
                self._take_off()
            if self._flight is not None:
                await self._flight

    def _tell_drained(self) -> None:
        if self._drained is None or self._drained.done() or self._outcomes or self.running_tasks:
            return
        if self._flight is None and not (self._decisions.touched or self._decisions.answered):
            self._drained.set_result(None)

    def _report(self, grant: Grant, outcome: Outcome) -> None:
        """An executor tells what came of an attempt."""
        self._outcomes.append((grant, outcome))
        self._notify()

    def _notify(self) -> None:
        if not self._woken:
            self._woken = True
            if self._wake is not None and not self._wake.done():
                self._wake.set_result(None)

    def _shards_changed(self, gained: frozenset[int], lost: frozenset[int]) -> None:
        """What is lost is dropped at once; what is gained is read back when the engine gets there."""
        self._gained = (self._gained - lost) | gained
        for live in self._decisions.drop(lost) if lost else ():
            logger.warning("run.dropped", extra={"run_id": live.run_id, "dag": live.run.dag})
            for index, task in enumerate(live.state.tasks):
                if task is TaskState.RUNNING:
                    self._executors[live.state.node(index).executor].cancel(live.run_id, index)
        self._notify()

    async def _take_over(self) -> None:
        gained, self._gained = self._gained, frozenset()
        try:
            found = await self._decisions.take_over(gained)
        except StoreUnavailable:
            self._gained |= gained & self._store.shards.owned
            await self._clock.sleep(pause_after(1))
            self._notify()
            return
        for live in found:
            self._set_timers(live, list(live.state.retry_at))
        self._requests = True  # what was asked of these runs meanwhile

    @property
    def busy_shards(self) -> frozenset[int]:
        """Shards with attempts under way."""
        return frozenset(live.run.shard for live in self._decisions.live.values() if live.state.running)

    def _notify_request(self) -> None:
        self._requests = True
        self._notify()

    # ── deciding ──

    async def _decide(self) -> None:
        if self._failure is not None:
            raise self._failure  # a commit that can never succeed ends the stage
        decisions, now = self._decisions, self._clock.now_us()
        outcomes, self._outcomes = self._outcomes, []
        decisions.scheduler.tick(now)
        for grant, outcome in outcomes:
            decisions.settle(grant, outcome, now)
        decisions.count_attempts()
        due, self._due = self._due, []
        for live, index in due:
            if not live.dropped:
                decisions.starts.queue(live, index)
        if self._gained:
            await self._take_over()
        try:
            await self._look_around()
        except StoreUnavailable:
            # The database, or where data of events is, comes and goes; what could not be read is read again.
            self._requests = True
            self._store.runs.new_runs.miss()
            await self._clock.sleep(pause_after(1))
        # Not `now`: attempts may have begun and ended while the database was read.
        decisions.starts.begin(self._clock.now_us())

    async def _look_around(self) -> None:
        """New runs, requests, and whose turn it is."""
        await self._decisions.take_new_runs()
        if self._requests:
            self._requests = False
            self._store.runs.new_requests.take()
            await self._decisions.requests.carry_out()
            moved, self._decisions.reread = self._decisions.reread, []
            for live in moved:
                self._set_timers(live, list(live.state.retry_at))
        await self._decisions.parking.work()
        await self._decisions.admit()
        await self._decisions.look_up()
        await self._decisions.starts.look_at_past()

    # ── committing ──

    def _take_off(self) -> bool:
        """Whether a batch of decisions is on its way to the disk now that was not before."""
        decisions = self._decisions
        if self._flight is not None or not (decisions.touched or decisions.answered):
            return False
        touched, decisions.touched = decisions.touched, []
        answered, decisions.answered = decisions.answered, []
        stops, decisions.stops = decisions.stops, []
        flight = [self._row(live) for live in touched]
        decisions.caching.taken_off()
        self._flight = asyncio.get_running_loop().create_task(self._fly(flight, answered, stops))
        return True

    def _row(self, live: LiveRun) -> tuple[LiveRun, Recorded, list[int], list[int]]:
        state = live.state
        summary: RunEnd | None = None
        events: tuple[Event, ...] = ()
        if state.phase is not live.shown:
            if live.shown is RunPhase.QUEUED:
                live.watched = self.learner.watch(live.run.dag, live.at)
            live.shown = state.phase
            summary = RunEnd(state.phase, state.started_at, state.ended_at)
            if state.phase in FINAL_RUN_STATES:
                events = (completion(live, live.at),)
        reuse = reuse_of(live, summary) if live.reuse is not None or state.recoveries else None
        row = Recorded(live.run_id, state.sequence, live.at, encode(live.records), summary, events, reuse)
        if live.standing.past is not None:
            row = row._replace(pasts=self._decisions.past.outcomes(live))
        if live.dag.waits or live.woken:
            row = self._with_waits(live, row)
        starting, retrying = live.starting, live.retrying
        if live.watched is not None:
            self.learner.take(live, live.at, live.records)
        state.sequence += 1
        live.records, live.starting = [], []
        if retrying:
            live.retrying = []
        return live, row, starting, retrying

    def _with_waits(self, live: LiveRun, row: Recorded) -> Recorded:
        waiting = waiting_event(live, live.at)
        asked = requests(live)
        events = (*row.events, *asked) if waiting is None else (*row.events, *asked, waiting)
        return row._replace(waits=wait_changes(live), events=events)

    async def _fly(self, flight: _Flight, answered: _Answered, stops: Sequence[tuple[LiveRun, int]]) -> None:
        try:
            await self._commit(flight, answered)
            self._learn()
            self._decisions.caching.landed()
            self._flight = None
            for live, index in stops:
                if live.dropped:
                    continue
                self._executors[live.state.node(index).executor].cancel(live.run_id, index)
            if self._decisions.look_again:
                self._decisions.look_again = False
                self._notify_request()
            if self._take_off():  # first, so that the disk has work while we have ours:
                for _ in range(_HANDING_IN):
                    await asyncio.sleep(0)
            for live, row, starting, retrying in flight:
                self._act(live, row, starting, retrying)
            self._tell_drained()
        except Exception as error:  # nobody awaits this task: `_decide` raises it
            self._failure = error
            self._notify()

    def _learn(self) -> None:
        """From what is on disk; once there is a DAG whose order matters, the scheduler asks for ranks."""
        self.learner.committed()
        if self.learner.is_worth:
            self._decisions.scheduler.rank = self.learner.rank

    async def _commit(self, flight: _Flight, answered: _Answered) -> None:
        failures = 0
        shared = self._store.shards.shared
        going = [(live, row) for live, row, _, _ in flight]
        rows = [row for _, row in going]
        while True:
            if shared:
                going = self._not_dropped(going, not_on_disk=bool(rows))
                rows = [row for _, row in going] if rows else []
            try:
                if rows:
                    fence = {(live.run.shard, live.epoch) for live, _ in going} if shared else None
                    await self._store.runs.record(rows, fence=fence)
                    rows = []
                # Answers that went with a lost shard are its next owner's to give.
                if given := [request for request, live in answered if live is None or not live.dropped]:
                    await self._store.runs.answer(given)
                return
            except CursorMoved:
                # Either an earlier try was committed and its answer lost, or somebody else writes these runs.
                if not rows or not await self._is_recorded(rows[0]):
                    raise
                rows = []
            except ShardLost as error:
                for live, _ in going:
                    live.dropped |= live.run.shard in error.shards
                going = [one for one in going if not one[0].dropped]  # the store has counted the others
                rows = [row for _, row in going]
            except StoreUnavailable:
                failures += 1
                await self._clock.sleep(pause_after(failures))

    def _not_dropped(
        self, going: list[tuple[LiveRun, Recorded]], *, not_on_disk: bool
    ) -> list[tuple[LiveRun, Recorded]]:
        """Those that are ours still; the others are refused here, as the store would."""
        kept = [one for one in going if not one[0].dropped]
        if not_on_disk:
            self._store.shards.refused += len(going) - len(kept)
        return kept

    async def _is_recorded(self, row: Recorded) -> bool:
        failures = 0
        while True:
            try:
                history = await self._store.runs.history(row.run_id)
            except StoreUnavailable:
                failures += 1
                await self._clock.sleep(pause_after(failures))
            else:
                return (row.sequence, row.at, row.body) in history

    # ── acting: everything below is on disk ──

    def _act(self, live: LiveRun, row: Recorded, starting: list[int], retrying: list[int]) -> None:
        if live.dropped:
            for index in starting:  # another node finds them begun, and begins them again
                self._decisions.scheduler.release(live.grants.pop(index))
            if starting:
                self._notify()  # others wait for what they had
            return
        for index in starting:
            self._start(live, index)
        if row.pasts and (released := self._decisions.past.recorded(row.pasts)):
            for ticket in released:
                self._decisions.scheduler.wait(ticket)
            self._notify()
        if retrying:
            self._set_timers(live, retrying)
        if row.summary is not None and row.summary.ended_at is not None:
            self._decisions.leave(live)
            facts = {"run_id": live.run_id, "dag": live.run.dag, "state": row.summary.state}
            logger.info("run.ended", extra=facts)
            self._notify()  # its place is free
        if live.dag.waits or live.woken:
            self._decisions.parking.recorded(live, row)

    def _start(self, live: LiveRun, index: int) -> None:
        grant = live.grants.pop(index)
        report = grant.report
        if report is None:
            report = grant.report = partial(self._report, grant)
        number = live.state.attempts[index]
        if live.state.cancelling and not live.state.node(index).is_teardown:
            report(Outcome(live.run_id, index, number, OutcomeKind.CANCELLED))
            return
        try:
            attempt = live.attempt(index)
        except Exception as error:
            report(_not_begun(live.run_id, index, number, error))
        else:
            if live.watched is not None:
                self.learner.measure(live, attempt)
            self._executors[attempt.node.executor].start(attempt, report)

    def _set_timers(self, live: LiveRun, retrying: Sequence[int]) -> None:
        now = self._clock.now_us()
        for index in retrying:
            due_at = live.state.retry_at.get(index)
            if due_at is not None and index not in live.timers:
                delay = (due_at - now) / 1_000_000
                live.timers[index] = self._clock.call_later(delay, partial(self._wake_task, live, index))

    def _wake_task(self, live: LiveRun, index: int) -> None:
        live.timers.pop(index, None)
        self._due.append((live, index))
        self._notify()


def _not_begun(run_id: str, index: int, number: int, error: Exception) -> Outcome:
    """Its arguments cannot be made: they refer to what a result does not have, or the user's own types raised."""
    kind, message = type(error).__name__, str(error)
    if isinstance(error, TaskFailed):
        kind, message = error.error_type, error.message
    return Outcome(
        run_id,
        index,
        number,
        OutcomeKind.FAILED,
        error_type=kind,
        message=_printable(message),
        permanent=True,
    )


def _printable(text: str) -> str:
    return text[:_MESSAGE].encode("utf-8", "backslashreplace").decode()
