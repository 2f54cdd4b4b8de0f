"""What happened becomes decisions: outcomes, due retries, requests and new runs.

Changes live runs and gathers their records; writes nothing and begins nothing.
"""

from __future__ import annotations

import logging
import random
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from prometheus_client import Counter

from tidemill.clock import Clock
from tidemill.dag.definition import Dag
from tidemill.engine.backlog import Backlog
from tidemill.engine.caching import Caching, fresh
from tidemill.engine.carried import LiveReuse, carried_results
from tidemill.engine.growth import expand, spawn
from tidemill.engine.live import LiveRun, empty_dag
from tidemill.engine.parking import Parking
from tidemill.engine.past import PastGate
from tidemill.engine.probation import Probation
from tidemill.engine.recovery import DAMAGED, event_of, read_back, recover
from tidemill.engine.requests import Requests
from tidemill.engine.scheduler import Grant, Scheduler
from tidemill.engine.scheduler.machine import machine, pool_limits
from tidemill.engine.starts import Starts
from tidemill.engine.versions import Versions
from tidemill.engine.waiting import begin_wait
from tidemill.errors import StorageError
from tidemill.runs import decide
from tidemill.runs.attempts import Outcome, OutcomeKind
from tidemill.runs.records import Failure
from tidemill.runs.reuse import Reused
from tidemill.runs.state import RunPhase, RunState, TaskState
from tidemill.settings import Settings
from tidemill.storage.contract import NewRun, RunSummary, Store
from tidemill.telemetry.metrics import Metrics

__all__ = ["Decisions"]

logger = logging.getLogger(__name__)


class Decisions:
    """The live runs and what is decided about them."""

    def __init__(
        self,
        store: Store,
        dags: Mapping[str, Dag],
        *,
        clock: Clock,
        settings: Settings,
        metrics: Metrics,
        random_source: random.Random,
        root: Path | None,
        wake: Callable[[], None],
    ) -> None:
        """`wake` is called when there is something to decide that nobody else knows of."""
        self.live: dict[str, LiveRun] = {}
        #: Runs with records that were not handed to the store yet.
        self.touched: list[LiveRun] = []
        #: Requests whose answer is in those records, each with the run that it changes.
        self.answered: list[tuple[int, LiveRun | None]] = []
        #: Attempts to be stopped: (live run, task).
        self.stops: list[tuple[LiveRun, int]] = []
        #: Attempts at once by `TaskNode.executor`.
        sizes = {
            "loop": settings.max_running_tasks,
            "thread": settings.thread_workers,
            "process": settings.process_limit,
            "ray": settings.ray_max_running_tasks,
            "dask": settings.dask_max_running_tasks,
        }
        self.scheduler = Scheduler(
            sizes,
            pools=pool_limits(settings),
            stock=machine(settings, root),
            aging_seconds=settings.priority_aging_seconds,
            max_overtakings=settings.max_overtakings,
        )
        #: Runs that were read anew because they go on with another version: their timers are to be set.
        self.reread: list[LiveRun] = []
        #: There are requests to be looked at when what is on its way to the disk has arrived.
        self.look_again = False
        self.draining = False
        self._store = store
        self._dags = dags
        self._clock = clock
        self._settings = settings
        self._random = random_source
        self._versions = Versions(dags, store.runs, waits=store.waits, root=root)
        #: Where tasks wait for what the run before comes to.
        self.past = PastGate(store, self._versions, clock=clock, wake=wake)
        self.starts = Starts(self, self.scheduler, self.past, clock=clock, wake=wake)
        self._shards = store.shards
        self._probation = Probation(clock=clock, begin=self._begin_held)
        self._wake = wake
        self.caching = Caching(store.cache)
        self._backlog = Backlog(store.runs, self._shards)
        self._active: dict[str, int] = {}
        #: The runs that only wait.
        self.parking = Parking(store, self, clock=clock, max_live=settings.max_live_runs, wake=wake)
        self.parking.follow(dags)
        #: What people ask.
        self.requests = Requests(
            store,
            self,
            versions=self._versions,
            backlog=self._backlog,
            clock=clock,
            max_recoveries=settings.max_recoveries,
        )
        self._metrics = metrics
        self._counters: dict[tuple[str, str], Counter] = {}
        #: Attempts that ended since the metrics were last told, by DAG and outcome.
        self._ended: dict[tuple[str, str], int] = {}

    async def replace_dags(self, dags: Mapping[str, Dag]) -> None:
        """Other definitions are loaded: kept on disk first, then used for what begins from now on."""
        self._versions.replace(dags)
        await self._versions.save()
        await self._keep_patterns()
        self._dags = dags
        self.parking.follow(dags)

    async def _keep_patterns(self) -> None:
        """What runs may wait for is known to whoever routes events, before a wait begins."""
        if patterns := self._versions.patterns():
            await self._store.waits.keep_patterns(patterns)

    async def recover(self) -> None:
        """Read back what was live and look for what is queued."""
        await self._versions.save()
        await self._keep_patterns()
        if not self._shards.shared:  # nobody else waits; an older version keeps its patterns when it is found
            await self._store.waits.forget_patterns(but=self._versions.patterns())
        await self.take_over(self._shards.owned)
        await self.parking.load()

    async def take_over(self, gained: frozenset[int]) -> list[LiveRun]:
        """Read back the live runs of these shards and look for what is queued in them; the runs that are live now."""
        shards = gained if self._shards.shared else None
        epochs = {shard: self._shards.epoch(shard) for shard in gained}
        # Those that began here since their shards were gained; they may end, and leave, while we read.
        is_wanted = partial(self._is_untouched, epochs, frozenset(self.live))
        now = self._clock.now_us()
        found: list[LiveRun] = []
        entered: list[LiveRun] = []
        if gained:
            limit = self._settings.max_recoveries
            found = await recover(self._store, self._versions, now, limit, shards, is_wanted=is_wanted)
        pasts = [await self.past.prepare(live, self.scheduler.plan(live.dag)) for live in found]
        for live, past in zip(found, pasts, strict=True):
            if not is_wanted(live.run):
                continue  # lost since
            self.enter(live)
            live.standing.past = past
            entered.append(live)
            if live.records:
                self.touched.append(live)
            self.queue_ready(live)
        going = [live for live in entered if live.state.phase is RunPhase.RUNNING]
        suspects = [live for live in going if live.state.recoveries >= self._settings.max_recoveries]
        self._probation.enter(suspects, others=len(suspects) < len(going))
        await self._backlog.look_back()
        self.parking.changed()
        if entered:
            logger.info("run.recovered", extra={"runs": len(entered)})
        return entered

    def _is_untouched(
        self, epochs: Mapping[int, int], begun: frozenset[str], run: NewRun | RunSummary
    ) -> bool:
        """Whether nobody has gone on with a run while it was read; one whose shard was lost is read once more."""
        if run.shard not in self._shards.owned or run.run_id in begun:
            return False
        return self._shards.epoch(run.shard) == epochs.get(run.shard, 0)

    def drop(self, lost: frozenset[int]) -> list[LiveRun]:
        """Forget the runs of these shards: another node may work on them already. The runs that were live."""
        dropped = [live for live in self.live.values() if live.run.shard in lost]
        for live in dropped:
            live.dropped = True
            live.held.clear()
            for index in live.starting:  # their starts will never be on disk
                self.scheduler.release(live.grants.pop(index))
            live.starting = []
            self._shards.refused += bool(live.records)
            self.leave(live)
        self.touched = [live for live in self.touched if not live.dropped]
        self.stops = [stop for stop in self.stops if not stop[0].dropped]
        self._backlog.drop(lost)
        self.parking.changed()
        return dropped

    def leave(self, live: LiveRun) -> None:
        """The run's end is on disk."""
        for timer in live.timers.values():
            timer.cancel()
        self._probation.leave(live)
        self.scheduler.leave(live)
        del self.live[live.run_id]
        self._active[live.run.dag] -= 1

    def lose_attempts(self) -> None:
        """Attempts that run were cut off, because the process stops."""
        now = self._clock.now_us()
        for live in list(self.live.values()):
            if live.state.running:
                at = self.touch(live, now)
                decide.lose_attempts(live.state, at, live.records)

    # ── outcomes ──

    def settle(self, grant: Grant, outcome: Outcome, now: int) -> None:
        """An attempt has ended, and what it had is free. What nobody waits for any more changes nothing."""
        live = self.live.get(outcome.run_id)
        if live is None:
            self.scheduler.release(grant)
            self._refuse(outcome)
            return
        index, kind, state = outcome.index, outcome.kind, live.state
        ended = (live.dag.dag_id, kind)
        self._ended[ended] = self._ended.get(ended, 0) + 1
        if outcome.number != state.attempts[index] or state.tasks[index] is not TaskState.RUNNING:
            self.scheduler.release(grant)
            self._refuse(outcome)
            return
        at = self.touch(live, now)
        if kind is OutcomeKind.SUCCEEDED and state.unfolding is None and live.reuse is None:
            decide.attempt_succeeded(state, index, outcome.result, at, live.records)
            if not self.starts.goes_on(live, grant):
                self.scheduler.release(grant)
                if state.ready or live.held:
                    self.queue_ready(live)
            return
        self.scheduler.release(grant)
        if kind is OutcomeKind.SUCCEEDED:
            if outcome.spawned:
                spawn(live, outcome, at, most=self._settings.max_map_length)
            else:
                decide.attempt_succeeded(state, index, outcome.result, at, live.records)
            if live.reuse is not None:
                self.caching.remember(live, index, outcome.result, at)
        elif kind is OutcomeKind.CANCELLED and state.cancelling and not state.node(index).is_teardown:
            decide.attempt_cancelled(state, index, at, live.records)
        elif kind is OutcomeKind.SKIPPED:
            decide.attempt_skipped(state, index, outcome.message, at, live.records)
        else:
            self._fail(live, outcome, at)
        if state.ready or live.held or state.unfolding is not None:
            self.queue_ready(live)

    def _refuse(self, outcome: Outcome) -> None:
        """It came too late: its run is another node's, or was and is ours again. One that we cut off says nothing."""
        if self._shards.shared and outcome.kind is not OutcomeKind.CANCELLED:
            self._shards.refused += 1

    def _fail(self, live: LiveRun, outcome: Outcome, at: int) -> None:
        due_at = decide.attempt_failed(
            live.state,
            outcome.index,
            # An attempt that was cancelled without our asking has failed like any other.
            Failure(outcome.error_type or "CancelledError", outcome.message, outcome.traceback),
            at,
            live.records,
            chance=self._random.random(),
            permanent=outcome.permanent,
            retry_after=outcome.retry_after,
        )
        facts = {
            "run_id": outcome.run_id,
            "task": live.state.name(outcome.index),
            "attempt": outcome.number,
            "error": f"{outcome.error_type}: {outcome.message}",
        }
        if due_at is None:
            logger.warning("task.failed", extra=facts)
        else:
            live.retrying.append(outcome.index)
            logger.warning("task.retrying", extra={**facts, "delay": (due_at - at) / 1e6})

    def touch(self, live: LiveRun, now: int) -> int:
        """Records of a run are about to be added; returns their time."""
        if not live.records:
            live.at = now
            self.touched.append(live)
        return live.at

    def count_attempts(self) -> None:
        """Tell the metrics of the attempts that have ended."""
        for kind, count in self._ended.items():
            counter = self._counters.get(kind)
            if counter is None:
                counter = self._counters[kind] = self._metrics.task_attempts.labels(*kind)
            counter.inc(count)
        self._ended.clear()

    # ── starting tasks ──

    def queue_ready(self, live: LiveRun) -> None:
        """Tasks that became ready wait for a slot."""
        self._expand(live)
        ready = live.state.ready
        while ready:
            index = ready.popleft()
            if live.reuse is None or not self._reuses(live, live.reuse, index):
                if index in live.dag.waits:
                    self._begin_wait(live, index)
                else:
                    self.starts.queue(live, index)
        if live.held and not live.is_full:
            self.starts.queue(live, live.held.popleft())

    def _reuses(self, live: LiveRun, reuse: LiveReuse, index: int) -> bool:
        """Whether the ready task has its result from elsewhere, or may have (`look_up`)."""
        found = reuse.carried.pop(live.state.name(index), None) if reuse.carried else None
        if found is not None and self._give(live, reuse, index, found):
            return True
        return self.caching.takes(live, index)

    def _give(self, live: LiveRun, reuse: LiveReuse, index: int, found: Reused) -> bool:
        if not reuse.fits(live.dag, live.state.node(index).index, found.result):
            return False  # it is kept elsewhere, and this version of the DAG looks at it
        is_first = not live.records
        if is_first:
            live.at = self._clock.now_us()
        if not decide.give(live.state, index, found, live.at, live.records):
            return False
        if is_first:
            self.touched.append(live)
        reuse.holds_of(live.run_id, found.result)
        self._expand(live)
        return True

    async def look_up(self) -> None:
        """Ready tasks whose results may be in the cache have them, or wait for a slot."""
        while found := await self.caching.look_up():
            now = self._clock.now_us()
            for live, index, key, entry in found:
                reuse = live.reuse
                if live.dropped or reuse is None or live.state.tasks[index] is not TaskState.READY:
                    continue  # lost, or cancelled meanwhile
                hit = None if entry is None else fresh(live, index, entry, now)
                is_hit = hit is not None and self._give(live, reuse, index, hit)
                self._metrics.cache_lookups.labels(live.dag.dag_id, "hit" if is_hit else "miss").inc()
                if is_hit:
                    self.queue_ready(live)
                else:
                    reuse.keys[index] = key
                    self.starts.queue(live, index)

    def _expand(self, live: LiveRun) -> None:
        """Mapped tasks whose turn has come are called for each of their items."""
        if live.state.unfolding is not None and live.state.unfolding.openings:
            expand(live, self.touch(live, self._clock.now_us()), most=self._settings.max_map_length)

    def _begin_wait(self, live: LiveRun, index: int) -> None:
        """The turn of a wait has come: nobody is called."""
        at, now = self.touch(live, self._clock.now_us()), self._clock.now_us()
        begun = begin_wait(
            live,
            index,
            now=now,
            since=self._store.log.head,
            dags=self._dags,
            max_hops=self._settings.max_hops,
        )
        decide.begin_wait(live.state, index, begun, at, live.records)
        self._expand(live)

    def holds(self, live: LiveRun, index: int) -> bool:
        """Whether a task has to wait for the turn of its run."""
        return self._probation.holds(live, index)

    def is_suspect(self, live: LiveRun) -> bool:
        """Whether tasks of a run may have to wait for its turn."""
        return self._probation.is_suspect(live)

    def _begin_held(self, live: LiveRun, index: int) -> None:
        """A suspect's turn has come."""
        self.starts.queue(live, index)
        self._wake()

    # ── admitting runs ──

    async def take_new_runs(self) -> None:
        """Runs that routing has just committed join the backlog."""
        runs, missed = self._store.runs.new_runs.take()
        if missed:
            await self._backlog.look_back()
        if runs:
            self._backlog.add(runs)

    async def admit(self) -> None:
        """Runs whose turn it is begin, as far as `max_active_runs` and `max_live_runs` let them."""
        if self.draining:
            return
        turns = deque(self._backlog.dags)
        while turns and len(self.live) < self._settings.max_live_runs:
            dag_id = turns.popleft()
            dag = self._dags.get(dag_id)
            limit = dag.max_active_runs if dag is not None else 1
            if limit is not None and self._active.get(dag_id, 0) + self.parking.held(dag_id) >= limit:
                continue
            if dag is not None and self.scheduler.holds_back(dag):
                continue
            run = await self._backlog.take(dag_id, self.live)
            if run is None:
                continue
            turns.append(dag_id)
            if dag is not None and (before := await self._comes_before(run, dag)) is not None:
                self._backlog.defer(run, before)
                continue
            await self._begin(run)
            self._backlog.resume(dag_id, run.run_id)

    async def _comes_before(self, run: NewRun | RunSummary, dag: Dag) -> str | None:
        """A queued run that must begin first, where tasks depend on the past."""
        plan = self.scheduler.plan(dag)
        before = await self.past.waits_for(run, plan, self._shards.owned) if plan.past else None
        return None if before in self.live else before

    async def _begin(self, run: NewRun | RunSummary) -> None:
        moved = self.requests.moved
        if moved and run.run_id in moved:
            run = replace(run, version=moved.pop(run.run_id))
        try:
            dag = self._versions.loaded(run.dag, run.version) or await self._versions.find(
                run.dag, run.version
            )
            live = LiveRun(run, dag, RunState(run.run_id, dag, run.parameters))
            live.reuse = await carried_results(self._store, run, dag)
            if dag.needs_event:
                live.event = await event_of(self._store, run)
            past = await self.past.prepare(live, self.scheduler.plan(dag))
        except StorageError:
            raise
        except DAMAGED as error:
            if run.shard not in self._shards.owned:
                return
            logger.exception("run.abandoned", extra={"run_id": run.run_id, "error": str(error)})
            dag = empty_dag(run)
            live = LiveRun(run, dag, RunState(run.run_id, dag))
            self.enter(live)
            at = self.touch(live, self._clock.now_us())
            decide.refuse(live.state, f"the run cannot start: {error}", at, live.records)
            return
        if run.shard not in self._shards.owned:
            return  # lost while its beginnings were read
        self.enter(live)
        live.standing.past = past
        logger.info("run.started", extra={"run_id": run.run_id, "dag": run.dag})
        decide.start(live.state, self.touch(live, self._clock.now_us()), live.records)
        self.queue_ready(live)

    def enter(self, live: LiveRun) -> None:
        """A run is worked on from now on."""
        live.epoch = self._shards.epoch(live.run.shard)
        self.live[live.run_id] = live
        self.scheduler.enter(live)
        self.caching.enter(live)
        self._active[live.run.dag] = self._active.get(live.run.dag, 0) + 1

    async def wake_up(self, run_ids: Collection[str]) -> None:
        """Read back those of these runs that only wait: they are live on return."""
        parked = [run_id for run_id in run_ids if run_id not in self.live]
        if not parked:
            return
        now, limit = self._clock.now_us(), self._settings.max_recoveries
        epochs = {shard: self._shards.epoch(shard) for shard in self._shards.owned}
        for live in await read_back(self._store, self._versions, parked, now, limit):
            past = await self.past.prepare(live, self.scheduler.plan(live.dag))
            if live.run_id in self.live or not self._is_untouched(epochs, frozenset(), live.run):
                continue
            self.enter(live)
            live.standing.past = past
            self.parking.woken(live)
            if live.records:
                self.touched.append(live)
