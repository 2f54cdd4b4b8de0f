"""Bugs as people make them, put into the running code: the simulation must find each, for the right reason."""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from tidemill.engine import engine
from tidemill.engine.decisions import Decisions
from tidemill.engine.engine import Engine
from tidemill.engine.parking import Parking
from tidemill.engine.requests import Requests
from tidemill.errors import StoreUnavailable
from tidemill.executors.loop import LoopExecutor
from tidemill.ids import new_id
from tidemill.project.admission import Stage
from tidemill.routing.admission import gate
from tidemill.routing.admission.pipeline import Pipeline
from tidemill.routing.admission.stages.batch import Batch
from tidemill.routing.admission.stages.debounce import Debounce
from tidemill.routing.admission.stages.idempotency import Idempotency
from tidemill.routing.router import Router
from tidemill.runs import decide, unfold
from tidemill.runs.rules import Counted
from tidemill.runs.state import TaskState
from tidemill.sinks import schedule
from tidemill.sinks.attempt import Attempts
from tidemill.sinks.backlog import Backlog
from tidemill.sources.schedule.stage import TickStage
from tidemill.storage import log
from tidemill.storage.admissions import StoredAdmissions
from tidemill.storage.commit import AppendJob, Commit, StatementJob, event_row
from tidemill.storage.contract import Append, Appended, DeliveryState
from tidemill.storage.log import StoredLog
from tidemill.storage.runs import StoredRuns
from tidemill.storage.sqlite.store import SqliteStore
from tidemill.storage.waits import StoredWaits
from tidemill.testing.simulation.disk import Disk, SimulatedSession
from tidemill.testing.simulation.process import Process

Apply = Callable[["Patch"], None]


@dataclass(frozen=True)
class Bug:
    """One mistake."""

    name: str
    #: Part of what the model says of it.
    seen_as: tuple[str, ...]
    apply: Apply


class Patch:
    """Replaces attributes, and puts them back."""

    def __init__(self) -> None:
        self._kept: list[tuple[Any, str, Any]] = []

    def set(self, owner: Any, name: str, value: Any) -> Any:
        """Replace an attribute; the original."""
        original = getattr(owner, name)
        self._kept.append((owner, name, original))
        setattr(owner, name, value)
        return original

    def undo(self) -> None:
        for owner, name, value in reversed(self._kept):
            setattr(owner, name, value)


BUGS: dict[str, Bug] = {}


@contextmanager
def planted(name: str) -> Iterator[None]:
    """The bug is in the code, inside."""
    patch = Patch()
    try:
        BUGS[name].apply(patch)
        yield
    finally:
        patch.undo()


def bug(*seen_as: str) -> Callable[[Apply], Apply]:
    def register(apply: Apply) -> Apply:
        BUGS[apply.__name__] = Bug(apply.__name__, seen_as, apply)
        return apply

    return register


# ── sources and log ──


@bug("was acknowledged before its commit", "was acknowledged and is not in the log", "its sender was told")
def ack_before_commit(patch: Patch) -> None:
    async def append(self: Any, job: Append) -> list[Appended]:
        at = self._clock.now_us()
        rows = [event_row(event, at) for event in job.events]
        future = self._writer.submit(AppendJob(job, rows, at))
        future.add_done_callback(lambda done: done.cancelled() or done.exception())
        if job.cursors or job.files:
            return await future  # type: ignore[no-any-return]
        return [Appended(self._tail.head + place) for place, _ in enumerate(rows, 1)]

    patch.set(StoredLog, "append", append)


@bug("was sent until it was safe, and is not in the log", "is acknowledged and is not in the log")
def offset_committed_before_the_append(patch: Patch) -> None:
    original = StoredLog.append

    async def append(self: Any, job: Append) -> list[Appended]:
        if job.cursors and job.events:
            await original(self, Append(cursors=job.cursors, origin=job.origin, stage=job.stage))
            return await original(self, replace(job, cursors=()))
        return await original(self, job)

    patch.set(StoredLog, "append", append)


@bug("was sent until it was safe, and is not in the log")
def file_marked_as_seen_before_the_append(patch: Patch) -> None:
    original = StoredLog.append

    async def append(self: Any, job: Append) -> list[Appended]:
        if job.files and job.events:
            await original(self, Append(files=job.files, origin=job.origin, stage=job.stage))
            return await original(self, replace(job, files=()))
        return await original(self, job)

    patch.set(StoredLog, "append", append)


@bug("is in the log at")
def answer_lost_and_commit_applied_twice(patch: Patch) -> None:
    calls = iter(range(1 << 62))

    def fresh_row(event: Any, at: int) -> Any:
        row = event_row(event, at)
        row.key = b"%016d" % next(calls)  # no identity: whatever is sent again is new
        return row

    patch.set(log, "event_row", fresh_row)


@bug("dead letters")
def undecodable_record_dropped(patch: Patch) -> None:
    original = Commit._append

    def _append(self: Any, job: AppendJob) -> Any:
        job.append = replace(job.append, dead_letters=())
        return original(self, job)

    patch.set(Commit, "_append", _append)


@bug("has other data than was sent first", "was answered with two positions", "is at")
def identity_used_again_taken_for_a_duplicate(patch: Patch) -> None:
    original = Commit._verdicts

    def _verdicts(self: Any, job: AppendJob) -> Any:
        answers = original(self, job)
        if isinstance(answers, Exception):
            return [Appended(1, duplicate=True) for _ in job.rows]
        return answers

    patch.set(Commit, "_verdicts", _verdicts)


@bug("us early")
def tick_told_a_little_early(patch: Patch) -> None:
    original = TickStage._now
    patch.set(TickStage, "_now", lambda self: original(self) + timedelta(seconds=2))


@bug(
    "was acknowledged and is not in the log",
    "stands where",
    "is not in the log",
    "a stage ended",
    "which does not exist",
)
def commit_not_synced(patch: Patch) -> None:
    """A crash loses what was committed last."""
    committed = Disk.committed
    begin = SimulatedSession.__init__

    def _committed(self: Any, process: int) -> None:
        committed(self, process)
        if len(self.commits) % 3 == 0:
            self.image = self.connection.serialize()

    def _begin(self: Any, disk: Any, process: Process) -> None:
        begin(self, disk, process)
        process.on_death.append(functools.partial(_power_cut, disk))

    patch.set(Disk, "committed", _committed)
    patch.set(SimulatedSession, "__init__", _begin)


def _power_cut(disk: Any) -> None:
    if hasattr(disk, "image"):
        disk.connection = sqlite3.connect(":memory:", isolation_level=None)
        disk.connection.deserialize(disk.image)


# ── routing and admission ──


@bug("matches and has no disposition")
def cursor_moved_without_disposition(patch: Patch) -> None:
    async def commit(self: Any, batch: Any, freed: Any) -> None:
        try:
            await self._store.runs.route(batch)
        except StoreUnavailable:
            await self._store.log.append(Append())  # as if the cursor alone had been written
            self._store.ledger._writer.positions.cursors["router"] = str(batch.cursor)
        self._trees.landed()

    patch.set(Router, "_commit", commit)


@bug("a stage ended: router")
def lost_answer_taken_for_a_second_router(patch: Patch) -> None:
    patch.set(Router, "_commit", _commit_without_second_thought)


async def _commit_without_second_thought(self: Any, batch: Any, freed: Any) -> None:
    while True:
        try:
            await self._store.runs.route(batch)
            break
        except StoreUnavailable:
            await self._clock.sleep(0.1)
    self._trees.landed()


@bug("runs are open at once")
def concurrency_counted_in_memory_only(patch: Patch) -> None:
    async def read_live(store: Any) -> dict[str, Any]:
        return {}

    patch.set(gate, "read_live", read_live)


@bug("should be", "starts in")
def what_admission_remembers_not_durable(patch: Patch) -> None:
    async def remembered(self: Any, *, limit: int) -> list[Any]:
        return []

    patch.set(StoredAdmissions, "remembered", remembered)


@bug("should be")
def dedupe_window_ignored(patch: Patch) -> None:
    patch.set(Idempotency, "take", lambda self, item, at, now: (item,))


@bug("is held by")
def timers_of_admission_lost_on_restart(patch: Patch) -> None:
    original = Pipeline.restore

    def restore(self: Any, items: Any, live: Any, now: int) -> None:
        plan = self.plan
        self.plan = lambda stage, key, due: None
        original(self, items, live, now)
        self.plan = plan

    patch.set(Pipeline, "restore", restore)


@bug("belong together")
def batch_takes_one_too_many(patch: Patch) -> None:
    original = Batch.take

    def take(self: Any, item: Any, at: int, now: int) -> Any:
        spec, self._spec = self._spec, replace(self._spec, size=self._spec.size + 1)
        try:
            return original(self, item, at, now)
        finally:
            self._spec = spec

    patch.set(Batch, "take", take)


@bug("before", "belong together")
def debounce_and_batch_do_not_wait(patch: Patch) -> None:
    original = Pipeline.plan
    waiting = (Stage.DEBOUNCE, Stage.BATCH)
    rung: set[tuple[int, Stage, str, int]] = set()

    def plan(self: Any, stage: Stage, key: str, due: int) -> None:
        once = (id(self), stage, key, due)
        is_early = stage in waiting and once not in rung
        rung.add(once)  # what is planned again at once would be rung for ever
        original(self, stage, key, 0 if is_early else due)

    patch.set(Pipeline, "plan", plan)
    patch.set(Debounce, "_due", lambda self, items: 0)


@bug("has hop count")
def hop_count_not_carried_on(patch: Patch) -> None:
    original = vars(engine)["completion"]

    def completion(live: Any, at: int) -> Any:
        event = original(live, at)
        return replace(event, extensions={**event.extensions, "hopcount": 0})

    patch.set(engine, "completion", completion)


# ── engine ──


@bug("its end and what tells of it are of two commits", "its end was told 0 times")
def completion_event_outside_the_transaction(patch: Patch) -> None:
    original = StoredRuns.record

    async def record(self: Any, rows: Any, *, fence: Any = None) -> None:
        await original(self, [row._replace(events=()) for row in rows], fence=fence)
        events = [event for row in rows for event in row.events]
        if events:
            at = self._clock.now_us()
            await self._writer.submit(
                AppendJob(Append(events=events), [event_row(event, at) for event in events], at)
            )

    patch.set(StoredRuns, "record", record)


@bug("its row says", "is running", "began 1 times and ended 0 times")
def result_recorded_outside_the_transaction(patch: Patch) -> None:
    """History first, the summary row in a transaction of its own."""
    original = StoredRuns.record

    async def record(self: Any, rows: Any, *, fence: Any = None) -> None:
        await original(self, [row._replace(summary=None) for row in rows], fence=fence)
        changed = [row for row in rows if row.summary is not None]
        numbers = self._writer.positions.numbers
        values = [
            (row.summary.state, row.summary.started_at, row.summary.ended_at, numbers[row.run_id])
            for row in changed
            if row.run_id in numbers
        ]
        if values:
            await self._writer.submit(StatementJob([("update_run", values)]))

    patch.set(StoredRuns, "record", record)


@bug("its end was told 2 times")
def completion_event_told_twice(patch: Patch) -> None:
    original = Engine._row

    def row(self: Any, live: Any) -> Any:
        made, recorded, *rest = original(self, live)
        again = tuple(replace(event, id=new_id()) for event in recorded.events)
        return (made, recorded._replace(events=(*recorded.events, *again)), *rest)

    patch.set(Engine, "_row", row)


@bug("its start is not on the disk")
def attempt_started_before_the_commit(patch: Patch) -> None:
    original = Engine._fly

    async def fly(self: Any, flight: Any, *rest: Any) -> None:
        for live, _, starting, *_others in flight:
            for index in starting:
                self._start(live, index)
            starting.clear()
        await original(self, flight, *rest)

    patch.set(Engine, "_fly", fly)


@bug("attempts are", "stage ended", "history", "began")
def batch_submitted_again_with_another_sequence(patch: Patch) -> None:
    original = StoredRuns.record

    async def record(self: Any, rows: Any, *, fence: Any = None) -> None:
        try:
            await original(self, rows, fence=fence)
        except StoreUnavailable:
            again = [row._replace(sequence=row.sequence + 1) for row in rows]
            await original(self, again, fence=fence)

    patch.set(StoredRuns, "record", record)


@bug("before it was due")
def timer_on_the_wall_clock(patch: Patch) -> None:
    def set_timers(self: Any, live: Any, retrying: Any) -> None:
        for index in retrying:
            due_at = live.state.retry_at.get(index)
            if due_at is not None and index not in live.timers:
                look = functools.partial(_look, self, live, index, due_at)
                live.timers[index] = self._clock.call_later(0.2, look)

    patch.set(Engine, "_set_timers", set_timers)


def _look(self: Any, live: Any, index: int, due_at: int) -> None:
    if self._clock.now_us() >= due_at:
        self._wake_task(live, index)
    else:
        look = functools.partial(_look, self, live, index, due_at)
        live.timers[index] = self._clock.call_later(0.2, look)


@bug("is running")
def retry_timer_lost_on_restart(patch: Patch) -> None:
    original = Engine.recover

    async def recover(self: Any) -> None:
        kept = Engine._set_timers
        Engine._set_timers = lambda *_: None  # type: ignore[method-assign]
        try:
            await original(self)
        finally:
            Engine._set_timers = kept  # type: ignore[method-assign]

    patch.set(Engine, "recover", recover)


@bug("it was given up after")
def retries_counted_from_lost_attempts(patch: Patch) -> None:
    original = decide.attempt_failed

    def attempt_failed(state: Any, *rest: Any, **options: Any) -> Any:
        state.lost.clear()
        return original(state, *rest, **options)

    patch.set(decide, "attempt_failed", attempt_failed)


@bug("after it was cancelled")
def cancel_lost_when_in_flight(patch: Patch) -> None:
    patch.set(LoopExecutor, "cancel", lambda self, run_id, index: None)


@bug("began after it was cancelled", "it was to be cancelled", "was not answered", "stage ended")
def cancel_not_recorded(patch: Patch) -> None:
    """A cancellation is answered before the run that it is about was read back."""

    async def carry_out(self: Any) -> None:
        for request in await self._store.runs.requests(self._shards.filter):
            if not any(request.id == answered for answered, _ in self._host.answered):
                self._host.answered.append((request.id, None))

    patch.set(Requests, "carry_out", carry_out)


@bug("a stage ended", "its row says")
def last_row_of_a_history_not_read(patch: Patch) -> None:
    original = StoredRuns.histories

    async def histories(self: Any, run_ids: Any) -> Any:
        found = await original(self, run_ids)
        return {run: rows[:-1] if len(rows) > 1 else rows for run, rows in found.items()}

    patch.set(StoredRuns, "histories", histories)


@bug("and max_active_runs is")
def runs_read_back_do_not_count(patch: Patch) -> None:
    original = Decisions.take_over

    async def take_over(self: Any, gained: Any) -> Any:
        found = await original(self, gained)
        self._active = dict.fromkeys(self._active, 0)
        return found

    patch.set(Decisions, "take_over", take_over)


@bug("is queued")
def runs_of_a_lost_answer_forgotten(patch: Patch) -> None:
    patch.set(SqliteStore, "_resynchronise", lambda self, head: self._tail.restart(head))


@bug("its records are", "attempts are", "a stage ended", "was made twice", "a success is on the disk")
def recovery_begins_everything_again(patch: Patch) -> None:
    """What was running when the process died is begun again under its old number."""
    original = decide.recover

    def recover(state: Any, at: int, into: Any, **options: Any) -> None:
        attempts = list(state.attempts)
        original(state, at, into, **options)
        for index, task in enumerate(state.tasks):
            if task == "ready" and attempts[index]:
                state.attempts[index] = attempts[index] - 1

    patch.set(decide, "recover", recover)


@bug("is waiting")
def waits_not_armed_again_after_a_restart(patch: Patch) -> None:
    async def first_due(self: Any, *_: Any, **__: Any) -> None:
        return None

    patch.set(StoredWaits, "first_due", first_due)


@bug("us early")
def wait_over_at_once(patch: Patch) -> None:
    original = Parking._arm

    def arm(self: Any, due_at: int) -> None:
        self._until = due_at
        original(self, due_at)
        self._wake()

    patch.set(Parking, "_arm", arm)


@bug("its task is")
def skipped_taken_for_succeeded(patch: Patch) -> None:
    """A trigger rule counts a skipped task as one that succeeded."""
    patch.set(unfold, "_COUNTED", {**unfold._COUNTED, TaskState.SKIPPED: Counted.SUCCESS})


@bug("its task is")
def branch_not_asked(patch: Patch) -> None:
    patch.set(unfold, "_followed", lambda state, node: None)


@bug("task runs for the items")
def map_forgets_its_last_item(patch: Patch) -> None:
    original = decide.expand

    def expand(state: Any, index: int, count: Any, *rest: Any) -> Any:
        return original(state, index, count - 1 if isinstance(count, int) and count else count, *rest)

    patch.set(decide, "expand", expand)


# ── sinks ──


@bug("it is marked as delivered")
def outbox_marked_before_the_receiver_accepted(patch: Patch) -> None:
    original = Attempts.settle

    async def settle(self: Any, delivery: Any) -> Any:
        await self._mark(
            replace(delivery, attempts=delivery.attempts + 1), DeliveryState.DELIVERED, begun=None
        )
        return await original(self, delivery)

    patch.set(Attempts, "settle", settle)


@bug("was settled")
def ordered_lane_goes_on_past_a_failure(patch: Patch) -> None:
    original = Backlog.put_back

    def put_back(self: Any, delivery: Any) -> None:
        if self._ordered:
            self._ready.append(delivery)
        else:
            original(self, delivery)

    patch.set(Backlog, "put_back", put_back)


@bug("us after the one before")
def deliveries_tried_again_at_once(patch: Patch) -> None:
    patch.set(schedule, "delay_after", lambda attempt, **_: 0.0)


@bug("it was given up after")
def one_failure_is_enough(patch: Patch) -> None:
    patch.set(schedule, "decide_after", lambda failure, attempt, **_: schedule.GiveUp("attempts_exhausted"))


@bug("it is absent")
def deliveries_not_in_the_routing_transaction(patch: Patch) -> None:
    original = Commit._route

    def route(self: Any, batch: Any, derived: Any) -> Any:
        return original(self, replace(batch, deliveries=batch.deliveries[:1]), derived)

    patch.set(Commit, "_route", route)
