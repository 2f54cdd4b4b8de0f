"""How far a run is: its history folded into a few numbers for each task, row by row. Pure.

1. Folding goes on where it stopped: whoever follows a run reads each history row once.
2. Memory is bounded by the tasks of the DAG and what is under way now, never by the task runs of its maps.
3. Only what is recorded is counted. Tasks that are skipped, cancelled or out of reach because of other tasks leave no
   record of their own: they are done when the run has ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import orjson

from tidemill.dag.definition import Dag
from tidemill.runs import records
from tidemill.runs.records import decode
from tidemill.runs.state import FINAL_RUN_STATES, RunPhase, TaskState

__all__ = ["Counts", "RunProgress", "TaskProgress"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Task runs by what became of them."""

    total: int
    #: Those that have ended, in whichever way.
    done: int
    succeeded: int
    failed: int
    #: Skipped, cancelled, or out of reach because of another task.
    not_run: int
    running: int
    #: Waits that no executor hears of: for an event, a time, an approval.
    waiting: int = 0


@dataclass(slots=True)
class TaskProgress:
    """One task of the DAG with all its task runs."""

    task_id: str
    upstream: Sequence[str] = ()
    #: Task runs; 1 but for a map.
    total: int = 1
    is_map: bool = False
    succeeded: int = 0
    failed: int = 0
    skipped: int = 0
    cancelled: int = 0
    #: Attempts that run: name of the task run → when it began.
    running: dict[str, int] = field(default_factory=dict)
    #: Waits: name of the task run → since when, and when its time is up at the latest.
    parked: dict[str, tuple[int, int | None]] = field(default_factory=dict)
    #: Task runs that wait for their next attempt → since when.
    retrying: dict[str, int] = field(default_factory=dict)
    #: Attempts begun.
    attempts: int = 0
    #: When its first attempt began and its last one ended.
    started_at: int | None = None
    ended_at: int | None = None
    #: Time spent in attempts, and between them, in microseconds.
    working: int = 0
    retry_waiting: int = 0

    @property
    def done(self) -> int:
        """Task runs whose end is recorded."""
        return self.succeeded + self.failed + self.skipped + self.cancelled

    @property
    def is_done(self) -> bool:
        """Whether nothing of it is left to do."""
        return self.done >= self.total

    @property
    def left(self) -> int:
        """Task runs that have not begun, or wait for their next attempt."""
        return max(0, self.total - self.done - len(self.running) - len(self.parked))

    def state(self, *, has_ended: bool) -> TaskState | None:
        """Its state as far as it is recorded; None: it did not run, and the run has ended."""
        if self.running and not has_ended:
            return TaskState.RUNNING
        if self.is_done:
            if self.failed:
                return TaskState.FAILED
            if self.succeeded or not self.total:
                return TaskState.SUCCEEDED
            return TaskState.SKIPPED if self.skipped else TaskState.CANCELLED
        if has_ended:
            return None
        if self.retrying:
            return TaskState.RETRYING
        return TaskState.WAITING if self.parked or self.done else TaskState.PENDING


class RunProgress:
    """The fold of one run's history rows."""

    def __init__(self, dag: Dag) -> None:
        """`dag` is the version that the run began with, or the graph that is kept of it."""
        names = [node.task_id for node in dag.tasks]
        self.tasks = {
            node.task_id: TaskProgress(node.task_id, tuple(names[above] for above in node.upstream))
            for node in dag.tasks
        }
        self.phase = RunPhase.QUEUED
        #: Number of the last row; -1 before the first.
        self.sequence = -1
        #: Time of the last row.
        self.at: int | None = None
        self.started_at: int | None = None
        self.ended_at: int | None = None

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will come."""
        return self.phase in FINAL_RUN_STATES

    def follow(self, rows: Iterable[tuple[int, int, bytes]]) -> bool:
        """Fold further rows of the history; True when there was one."""
        before = self.sequence
        for sequence, at, body in rows:
            self.sequence, self.at = sequence, at
            for record in decode(body):
                self._apply(record, at)
        return self.sequence != before

    def counts(self, of: TaskProgress | None = None) -> Counts:
        """All task runs, or those of one task."""
        tasks = self.tasks.values() if of is None else [of]
        total = sum(task.total for task in tasks)
        succeeded = sum(task.succeeded for task in tasks)
        failed = sum(task.failed for task in tasks)
        ended = self.has_ended
        done = total if ended else sum(task.done for task in tasks)
        return Counts(
            total=total,
            done=done,
            succeeded=succeeded,
            failed=failed,
            not_run=max(0, done - succeeded - failed),
            running=0 if ended else sum(len(task.running) for task in tasks),
            waiting=0 if ended else sum(len(task.parked) for task in tasks),
        )

    def maps(self) -> list[TaskProgress]:
        """Mapped tasks whose task runs are known."""
        return [task for task in self.tasks.values() if task.is_map]

    def _apply(self, record: records.Record, at: int) -> None:
        match record:
            case records.RunStarted():
                self.phase, self.started_at = RunPhase.RUNNING, at
            case records.RunWaiting():
                self.phase = RunPhase.WAITING
            case records.RunResumed():
                self.phase = RunPhase.RUNNING
            case records.RunEnded():
                self.phase, self.ended_at = RunPhase(record.state), at
            case _:
                name = getattr(record, "task", None)
                task = None if name is None else self._task(name)
                if task is not None and name is not None:
                    _change(task, name, record, at)

    def _task(self, name: str) -> TaskProgress | None:
        return self.tasks.get(name) or self.tasks.get(name.partition("[")[0])


def _change(task: TaskProgress, name: str, record: records.Record, at: int) -> None:
    match record:
        case records.TaskExpanded():
            task.is_map, task.total = True, record.size
            if not record.size:
                task.started_at = task.ended_at = at
        case records.TasksSpawned():
            before = task.total if task.is_map else 0
            task.is_map, task.total = True, before + len(orjson.loads(record.arguments))
        case records.TaskWaiting():
            task.parked[name] = (at, record.due_at)
            task.started_at = at if task.started_at is None else task.started_at
        case records.TaskStarted():
            task.attempts += 1
            task.running[name] = at
            task.started_at = at if task.started_at is None else task.started_at
            task.retry_waiting += at - task.retrying.pop(name, at)
        case records.TaskSucceeded():
            task.succeeded += 1
            _end(task, name, at)
        case records.TaskFailed():
            task.failed += 1
            _end(task, name, at)
        case records.TaskSkipped():
            task.skipped += 1
            _end(task, name, at)
        case records.TaskCancelled():
            task.cancelled += 1
            _end(task, name, at)
        case records.TaskRetrying():
            task.working += at - task.running.pop(name, at)
            task.retrying[name] = at
        case records.TaskLost():
            task.working += at - task.running.pop(name, at)
            task.retrying[name] = at
        case _:
            pass


def _end(task: TaskProgress, name: str, at: int) -> None:
    task.working += at - task.running.pop(name, at)
    task.retry_waiting += at - task.retrying.pop(name, at)
    task.parked.pop(name, None)
    task.started_at = at if task.started_at is None else task.started_at
    task.ended_at = at
