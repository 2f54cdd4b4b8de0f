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

from tidemill.clock import Clock, Wakeup
from tidemill.dag.definition import Dag
from tidemill.engine.backlog import Backlog
from tidemill.engine.caching import Caching, fresh
from tidemill.engine.carried import LiveReuse, carried_results
from tidemill.engine.children import children_of
from tidemill.engine.live import LiveRun, empty_dag
from tidemill.engine.migration import is_migration, is_settled, move
from tidemill.engine.parking import Parking
from tidemill.engine.past import PastGate
from tidemill.engine.probation import Probation
from tidemill.engine.recovery import DAMAGED, event_of, read_back, recover, reread
from tidemill.engine.scheduler import Scheduler
from tidemill.engine.scheduler.machine import machine, pool_limits
from tidemill.engine.scheduler.ticket import Ticket
from tidemill.engine.versions import Versions
from tidemill.engine.waiting import begin_wait
from tidemill.errors import StorageError, TaskFailed
from tidemill.runs import decide
from tidemill.runs.attempts import Outcome, OutcomeKind
from tidemill.runs.records import Failure
from tidemill.runs.reuse import Reused
from tidemill.runs.state import RunPhase, RunState, TaskState
from tidemill.settings import Settings
from tidemill.storage.contract import NewRun, Request, RunSummary, Store
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
        #: Wakes us when a waiting task must have started.
        self._start_timer: tuple[int, Wakeup] | None = None
        #: Runs that were read anew because they go on with another version: their timers are to be set.
        self.reread: list[LiveRun] = []
        #: There are requests to be looked at when what is on its way to the disk has arrived.
        self.look_again = False
        #: Version by id of queued runs that will begin with another one than they were handed over with.
        self._moved: dict[str, str] = {}
        self.draining = False
        self._store = store
        self._dags = dags
        self._clock = clock
        self._settings = settings
        self._random = random_source
        self._versions = Versions(dags, store.runs, root=root)
        #: Where tasks wait for what the run before comes to.
        self.past = PastGate(store, self._versions, clock=clock, wake=wake)
        self._shards = store.shards
        self._probation = Probation(clock=clock, begin=self._begin_held)
        self._wake = wake
        self.caching = Caching(store.cache)
        self._backlog = Backlog(store.runs, self._shards)
        self._active: dict[str, int] = {}
        #: The runs that only wait.
        self.parking = Parking(store, self, clock=clock, max_live=settings.max_live_runs, wake=wake)
        self.parking.follow(dags)
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
            self._enter(live)
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
                at = self._touch(live, now)
                decide.lose_attempts(live.state, at, live.records)

    # ── outcomes ──

    def settle(self, outcome: Outcome, now: int) -> None:
        """An attempt has ended; its slot is free already. What nobody waits for any more changes nothing."""
        live = self.live.get(outcome.run_id)
        if live is None:
            self._refuse(outcome)
            return
        index, kind, state = outcome.index, outcome.kind, live.state
        ended = (live.dag.dag_id, kind)
        self._ended[ended] = self._ended.get(ended, 0) + 1
        if outcome.number != state.attempts[index] or state.tasks[index] is not TaskState.RUNNING:
            self._refuse(outcome)
            return
        at = self._touch(live, now)
        if kind is OutcomeKind.SUCCEEDED:
            if outcome.spawned:
                self._spawn(live, outcome, at)
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

    def _spawn(self, live: LiveRun, outcome: Outcome, at: int) -> None:
        """An attempt that returned asks for further task runs."""
        state, most = live.state, self._settings.max_map_length
        assert state.unfolding is not None  # noqa: S101 - graphs with such tasks are more than plain
        names = [name for name, _ in outcome.spawned]
        for name in dict.fromkeys(names):
            count = names.count(name) + len(state.unfolding.spawned.get(state.dag.index[name], ()))
            if count > most:
                reason = f"{name} would have {count} task runs and max_map_length is {most}"
                failure = Failure("MapTooLong", reason)
                decide.attempt_failed(state, outcome.index, failure, at, live.records, permanent=True)
                return
        decide.attempt_succeeded(
            state, outcome.index, outcome.result, at, live.records, spawned=outcome.spawned
        )

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
        return self._touch(live, now)

    def _touch(self, live: LiveRun, now: int) -> int:
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
        if live.state.unfolding is not None and live.state.unfolding.openings:
            self._expand(live)
        ready = live.state.ready
        while ready:
            index = ready.popleft()
            if live.reuse is None or not self._reuses(live, live.reuse, index):
                if index in live.dag.waits:
                    self._begin_wait(live, index)
                else:
                    self.queue(live, index)
        if live.held and not live.is_full:
            self.queue(live, live.held.popleft())

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
        if live.state.unfolding is not None and live.state.unfolding.openings:
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
                    self.queue(live, index)

    def _expand(self, live: LiveRun) -> None:
        """Mapped tasks whose turn has come are called for each of their items."""
        state, at = live.state, self._touch(live, self._clock.now_us())
        assert state.unfolding is not None  # noqa: S101 - the caller looked
        while state.unfolding.openings:
            index = state.unfolding.openings[0]
            count: int | Failure
            try:
                count = live.items(index).count
                if count > (most := self._settings.max_map_length):
                    count = Failure(
                        "MapTooLong", f"it would have {count} task runs and max_map_length is {most}"
                    )
            except TaskFailed as error:
                count = Failure(error.error_type, error.message)
            except Exception as error:  # types of the user's own parameters may raise anything
                count = Failure(type(error).__name__, str(error)[:4096])
            decide.expand(state, index, count, at, live.records)
        live.forget_items()

    def _begin_wait(self, live: LiveRun, index: int) -> None:
        """The turn of a wait has come: nobody is called."""
        at, now = self._touch(live, self._clock.now_us()), self._clock.now_us()
        begun = begin_wait(
            live,
            index,
            now=now,
            since=self._store.log.head,
            dags=self._dags,
            max_hops=self._settings.max_hops,
        )
        decide.begin_wait(live.state, index, begun, at, live.records)
        if live.state.unfolding is not None and live.state.unfolding.openings:
            self._expand(live)

    def queue(self, live: LiveRun, index: int) -> None:
        """A ready or due task waits for its turn."""
        ticket = self.scheduler.queue(live, index)
        if ticket is not None:  # it asks for more than a slot of its executor
            self._queue_ticket(ticket)

    def _queue_ticket(self, ticket: Ticket) -> None:
        scheduler = self.scheduler
        reason = scheduler.lacks(ticket.ask)
        if reason is not None:
            scheduler.doomed.append((ticket, reason))
        elif not ticket.ask.depends_on_past or self.past.lets(ticket):
            scheduler.wait(ticket)
        if ticket.ask.start_timeout is not None:
            self._watch_starts()

    def _watch_starts(self) -> None:
        """Wake up when the next waiting task must have started."""
        due = self.scheduler.deadlines.next
        if self._start_timer is not None:
            if due is not None and self._start_timer[0] <= due:
                return
            self._start_timer[1].cancel()
            self._start_timer = None
        if due is not None:
            seconds = (due - self._clock.now_us()) / 1_000_000
            self._start_timer = (due, self._clock.call_later(max(0.0, seconds), self._wake_starts))

    def _wake_starts(self) -> None:
        self._start_timer = None
        self._wake()

    def _begin_held(self, live: LiveRun, index: int) -> None:
        """A suspect's turn has come."""
        self.queue(live, index)
        self._wake()

    async def look_at_past(self) -> None:
        """Tasks that waited for the run before wait for their turn, where it is made good elsewhere."""
        for ticket in await self.past.released():
            self.scheduler.wait(ticket)

    def start_tasks(self, now: int) -> None:
        """Begin the tasks whose turn it is, as far as there is room; fail those that can never begin."""
        if self.draining:
            return
        scheduler = self.scheduler
        scheduler.tick(now)
        if scheduler.is_overdue:
            self._give_up(now)
        while (entry := scheduler.next()) is not None:
            live, index = entry[3], entry[4]
            if live.dropped:
                scheduler.pass_over(is_gone=True)
                continue
            if self._probation.holds(live, index):
                scheduler.pass_over()
                continue
            if live.dag.max_active_tasks is not None and live.is_full:
                live.held.append(index)
                scheduler.pass_over()
                continue
            fresh = not live.records
            if fresh:
                live.at = now
            if decide.start_task(live.state, index, live.at, live.records) is None:
                scheduler.pass_over(is_gone=True)
                continue
            if fresh:
                self.touched.append(live)
            live.starting.append(index)
            live.grants[index] = scheduler.take()
        if self._start_timer is not None:
            self._watch_starts()

    def _give_up(self, now: int) -> None:
        """Tasks that have waited too long, or ask for what is not there, have failed."""
        scheduler = self.scheduler
        while scheduler.is_overdue:
            for ticket in scheduler.deadlines.expired(now):
                seconds = (ticket.ask.start_timeout or 0) / 1_000_000
                message = f"the task waited longer than its start_timeout of {seconds:g} s"
                self._fail_waiting(ticket, "StartTimedOut", message, now)
            while scheduler.doomed:
                ticket, reason = scheduler.doomed.pop()
                if ticket.is_waiting:
                    self._fail_waiting(ticket, "ResourcesImpossible", reason, now)
        self._watch_starts()

    def _fail_waiting(self, ticket: Ticket, error_type: str, message: str, now: int) -> None:
        """The attempt that would begin has failed for good, without having begun."""
        live, index = ticket.live, ticket.index
        self.scheduler.close(ticket)
        at = self._touch(live, now)
        if error_type == "StartTimedOut" and live.state.tasks[index] is TaskState.READY:
            seconds = (ticket.ask.start_timeout or 0) / 1_000_000
            decide.start_timed_out(live.state, index, seconds, at, live.records)
        elif decide.start_task(live.state, index, at, live.records) is not None:
            failure = Failure(error_type, message)
            decide.attempt_failed(live.state, index, failure, at, live.records, permanent=True)
        facts = {
            "run_id": live.run_id,
            "task": live.state.name(index),
            "attempt": live.state.attempts[index],
            "error": f"{error_type}: {message}",
        }
        logger.warning("task.failed", extra=facts)
        self.queue_ready(live)

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
        if self._moved and run.run_id in self._moved:
            run = replace(run, version=self._moved.pop(run.run_id))
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
            self._enter(live)
            at = self._touch(live, self._clock.now_us())
            decide.refuse(live.state, f"the run cannot start: {error}", at, live.records)
            return
        if run.shard not in self._shards.owned:
            return  # lost while its beginnings were read
        self._enter(live)
        live.standing.past = past
        logger.info("run.started", extra={"run_id": run.run_id, "dag": run.dag})
        decide.start(live.state, self._touch(live, self._clock.now_us()), live.records)
        self.queue_ready(live)

    def _enter(self, live: LiveRun) -> None:
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
            self._enter(live)
            live.standing.past = past
            self.parking.woken(live)
            if live.records:
                self.touched.append(live)

    # ── requests ──

    async def carry_out_requests(self) -> None:
        """Cancel what somebody asked to cancel; what is about a run that is not ours, or not read back yet, stays."""
        for request in await self._store.runs.requests(self._shards.filter):
            if any(request.id == answered for answered, _ in self.answered):
                continue
            live = None
            if is_migration(request):
                if not await self._move(request):
                    continue
            elif request.kind == "approval":
                live = await self.parking.approvals_ended(request.run_id)
                if live is None and await self._is_open(request.run_id):
                    continue
                self.answered.append((request.id, live))
                continue
            elif request.kind == "cancel":
                await self.wake_up([request.run_id])
                live = self.live.get(request.run_id) or await self._queued(request.run_id)
                if live is None and await self._is_open(request.run_id):
                    continue
            if live is not None:
                at = self._touch(live, self._clock.now_us())
                for child in children_of(live):  # first: what is asked twice does no harm
                    await self._store.runs.request(child, "cancel", f"run {live.run_id}")
                stops = decide.cancel(live.state, request.by, at, live.records)
                if not live.records:
                    self.touched.remove(live)
                self.stops.extend((live, index) for index in stops)
                self.queue_ready(live)  # what cleans up
            self.answered.append((request.id, live))

    async def _move(self, request: Request) -> bool:
        """Let a run go on with another version; False: something of it is on its way to the disk, or it is not ours."""
        run = await self._store.runs.get(request.run_id)
        live = self.live.get(request.run_id)
        if run is None or run.ended_at is not None:
            return True
        if run.shard not in self._shards.owned:
            return False
        if live is not None and (live.records or not await is_settled(self._store, request, live.state)):
            self.look_again = True
            return False
        moved = await move(self._store, self._versions, request, run, clock=self._clock)
        if moved is None or moved.state == RunPhase.QUEUED:
            if moved is not None:
                self._moved[moved.run_id] = moved.version
            return True
        if live is not None:
            live.dropped = True
            live.held.clear()
            self.leave(live)
        limit = self._settings.max_recoveries
        again = await reread(self._store, self._versions, moved, self._clock.now_us(), limit)
        if again is not None:
            past = await self.past.prepare(again, self.scheduler.plan(again.dag))
            self._enter(again)
            again.standing.past = past
            if live is None and again.state.phase is RunPhase.WAITING:
                self.parking.woken(again)
            decide.lose_attempts(
                again.state, again.at, again.records
            )  # none are: ends what has nothing left to do
            if again.records:
                self.touched.append(again)
            self.reread.append(again)
            self.queue_ready(again)
            self.parking.settle(again)
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
        self._enter(live)
        return live
