"""What happened becomes decisions: outcomes, due retries, requests and new runs.

Changes live runs and gathers their records; writes nothing and begins nothing.
"""

from __future__ import annotations

import logging
import random
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from prometheus_client import Counter

from tidemill.clock import Clock
from tidemill.dag.definition import Dag
from tidemill.engine.backlog import Backlog
from tidemill.engine.live import LiveRun, empty_dag
from tidemill.engine.probation import Probation
from tidemill.engine.recovery import DAMAGED, carried_results, event_of, recover
from tidemill.engine.slots import Slots
from tidemill.engine.versions import Versions
from tidemill.errors import StorageError
from tidemill.runs import decide
from tidemill.runs.attempts import Outcome, OutcomeKind
from tidemill.runs.records import Failure
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
        #: By `TaskNode.executor`.
        self.slots = {
            "loop": Slots(settings.max_running_tasks),
            "thread": Slots(settings.thread_workers),
            "ray": Slots(settings.ray_max_running_tasks),
            "dask": Slots(settings.dask_max_running_tasks),
        }
        self.draining = False
        self._store = store
        self._dags = dags
        self._clock = clock
        self._settings = settings
        self._random = random_source
        self._versions = Versions(dags, store.runs, root=root)
        self._shards = store.shards
        self._probation = Probation(clock=clock, begin=self._begin_held)
        self._wake = wake
        self._backlog = Backlog(store.runs, self._shards)
        self._active: dict[str, int] = {}
        self._metrics = metrics
        self._counters: dict[tuple[str, str], Counter] = {}
        #: Attempts that ended since the metrics were last told, by DAG and outcome.
        self._ended: dict[tuple[str, str], int] = {}

    async def replace_dags(self, dags: Mapping[str, Dag]) -> None:
        """Other definitions are loaded: kept on disk first, then used for what begins from now on."""
        self._versions.replace(dags)
        await self._versions.save()
        self._dags = dags

    async def recover(self) -> None:
        """Read back what was live and look for what is queued."""
        await self._versions.save()
        await self.take_over(self._shards.owned)

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
        for live in found:
            if not is_wanted(live.run):
                continue  # lost since
            self._enter(live)
            entered.append(live)
            if live.records:
                self.touched.append(live)
            self.queue_ready(live)
        going = [live for live in entered if live.state.phase is RunPhase.RUNNING]
        suspects = [live for live in going if live.state.recoveries >= self._settings.max_recoveries]
        self._probation.enter(suspects, others=len(suspects) < len(going))
        await self._backlog.look_back()
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
                self.slots[live.state.node(index).executor].release()
            live.starting = []
            self._shards.refused += bool(live.records)
            self.leave(live)
        self.touched = [live for live in self.touched if not live.dropped]
        self.stops = [stop for stop in self.stops if not stop[0].dropped]
        self._backlog.drop(lost)
        return dropped

    def leave(self, live: LiveRun) -> None:
        """The run's end is on disk."""
        for timer in live.timers.values():
            timer.cancel()
        self._probation.leave(live)
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
            decide.attempt_succeeded(state, index, outcome.result, at, live.records)
        elif kind is OutcomeKind.CANCELLED and state.cancelling:
            decide.attempt_cancelled(state, index, at, live.records)
        else:
            self._fail(live, outcome, at)
        if state.ready or live.held:
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
        ready = live.state.ready
        while ready:
            self.queue(live, ready.popleft())
        if live.held and not live.is_full:
            self.queue(live, live.held.popleft())

    def queue(self, live: LiveRun, index: int) -> None:
        """A ready or due task waits for a slot."""
        self.slots[live.state.node(index).executor].wait(live, index)

    def _begin_held(self, live: LiveRun, index: int) -> None:
        """A suspect's turn has come."""
        self.queue(live, index)
        self._wake()

    def start_tasks(self, now: int) -> None:
        """Give free slots to the tasks that are next."""
        if self.draining:
            return
        for slots in self.slots.values():
            while (following := slots.next()) is not None:
                live, index = following
                if live.dropped or self._probation.holds(live, index):
                    continue
                if live.dag.max_active_tasks is not None and live.is_full:
                    live.held.append(index)
                    continue
                fresh = not live.records
                if fresh:
                    live.at = now
                if decide.start_task(live.state, index, live.at, live.records) is None:
                    continue
                if fresh:
                    self.touched.append(live)
                live.starting.append(index)
                slots.free -= 1

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
            if limit is not None and self._active.get(dag_id, 0) >= limit:
                continue
            run = await self._backlog.take(dag_id, self.live)
            if run is not None:
                await self._begin(run)
                turns.append(dag_id)

    async def _begin(self, run: NewRun | RunSummary) -> None:
        try:
            dag = self._versions.loaded(run.dag, run.version) or await self._versions.find(
                run.dag, run.version
            )
            live = LiveRun(run, dag, RunState(run.run_id, dag, run.parameters))
            carried = await carried_results(self._store, run) if run.trigger == "retry" else None
            if dag.needs_event:
                live.event = await event_of(self._store, run)
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
        logger.info("run.started", extra={"run_id": run.run_id, "dag": run.dag})
        decide.start(live.state, self._touch(live, self._clock.now_us()), live.records, carried=carried)
        self.queue_ready(live)

    def _enter(self, live: LiveRun) -> None:
        live.epoch = self._shards.epoch(live.run.shard)
        self.live[live.run_id] = live
        self._active[live.run.dag] = self._active.get(live.run.dag, 0) + 1

    # ── requests ──

    async def carry_out_requests(self) -> None:
        """Cancel what somebody asked to cancel; what is about a run that is not ours, or not read back yet, stays."""
        for request in await self._store.runs.requests(self._shards.filter):
            if any(request.id == answered for answered, _ in self.answered):
                continue
            live = None
            if request.kind == "cancel":
                live = self.live.get(request.run_id) or await self._queued(request.run_id)
                if live is None and await self._is_open(request.run_id):
                    continue
            if live is not None:
                at = self._touch(live, self._clock.now_us())
                stops = decide.cancel(live.state, request.by, at, live.records)
                if not live.records:
                    self.touched.remove(live)
                self.stops.extend((live, index) for index in stops)
            self.answered.append((request.id, live))

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
