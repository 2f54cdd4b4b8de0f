"""The states of runs and task runs, and the state of one run.

1. A run's state is a fold of its history: `fold.apply` is the only function that changes a `RunState`, and it depends
   on nothing but the state, the record and the record's time.
2. Every change of a task's state goes through `TASK_TRANSITIONS`; what is not in the table is `InvalidTransition`.
3. What follows necessarily from a record is not recorded but folded: a task becomes `ready` when its last upstream
   task succeeds, and `upstream_failed` when an upstream task can no longer succeed.

The fold itself is in `fold`, and in `unfold` for graphs with more than plain edges.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from enum import StrEnum
from typing import Any

from tidemill.dag.definition import Dag, TaskNode
from tidemill.errors import InvalidTransition
from tidemill.runs.maps import MapRuns, place_in_name
from tidemill.runs.records import Failure, Record
from tidemill.runs.rules import Tally

__all__ = [
    "FINAL_RUN_STATES",
    "FINAL_TASK_STATES",
    "TASK_TRANSITIONS",
    "RunPhase",
    "RunState",
    "TaskState",
    "Unfolding",
]


class RunPhase(StrEnum):
    """States of a run."""

    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class TaskState(StrEnum):
    """States of a task run."""

    PENDING = "pending"
    READY = "ready"
    RUNNING = "running"
    RETRYING = "retrying"
    WAITING = "waiting"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"
    UPSTREAM_FAILED = "upstream_failed"


FINAL_RUN_STATES = frozenset({RunPhase.SUCCEEDED, RunPhase.FAILED, RunPhase.CANCELLED})
FINAL_TASK_STATES = frozenset(
    {
        TaskState.SUCCEEDED,
        TaskState.FAILED,
        TaskState.CANCELLED,
        TaskState.SKIPPED,
        TaskState.UPSTREAM_FAILED,
    }
)


TASK_TRANSITIONS: dict[TaskState, frozenset[TaskState]] = {
    TaskState.PENDING: frozenset(
        {TaskState.READY, TaskState.SKIPPED, TaskState.UPSTREAM_FAILED, TaskState.CANCELLED}
    ),
    TaskState.READY: frozenset(
        {
            TaskState.RUNNING,
            TaskState.WAITING,
            TaskState.SUCCEEDED,
            TaskState.FAILED,
            TaskState.CANCELLED,
        }
    ),
    TaskState.RUNNING: frozenset(
        {
            TaskState.SUCCEEDED,
            TaskState.FAILED,
            TaskState.SKIPPED,
            TaskState.CANCELLED,
            TaskState.RETRYING,
            TaskState.READY,
        }
    ),
    TaskState.RETRYING: frozenset({TaskState.RUNNING, TaskState.CANCELLED}),
    TaskState.WAITING: frozenset(
        {
            TaskState.RUNNING,
            TaskState.SUCCEEDED,
            TaskState.FAILED,
            TaskState.SKIPPED,
            TaskState.CANCELLED,
        }
    ),
    TaskState.SUCCEEDED: frozenset(),
    TaskState.FAILED: frozenset(),
    TaskState.CANCELLED: frozenset(),
    TaskState.SKIPPED: frozenset(),
    TaskState.UPSTREAM_FAILED: frozenset(),
}


#: States of task runs that have something to do, or will have without anybody's doing.
_BUSY = frozenset({TaskState.READY, TaskState.RUNNING, TaskState.RETRYING})


class RunState:
    """The state of one run. Changed by `apply` only."""

    __slots__ = (
        "attempts",
        "cancelling",
        "dag",
        "ended_at",
        "errors",
        "lost",
        "parameters",
        "phase",
        "ready",
        "reason",
        "recoveries",
        "remaining",
        "results",
        "retry_at",
        "run_id",
        "running",
        "sequence",
        "started_at",
        "tasks",
        "unfinished",
        "unfolding",
        "unhappy",
    )

    def __init__(self, run_id: str, dag: Dag, parameters: bytes = b"{}") -> None:
        self.run_id = run_id
        self.dag = dag
        #: JSON text; what the DAG returns may refer to them.
        self.parameters = parameters
        self.phase = RunPhase.QUEUED
        #: Number of the next history row.
        self.sequence = 0
        self.started_at: int | None = None
        self.ended_at: int | None = None
        self.reason = ""
        self.cancelling = False
        self.recoveries = 0
        self.tasks = [TaskState.PENDING] * len(dag.tasks)
        #: Attempts begun per task.
        self.attempts = [0] * len(dag.tasks)
        #: Attempts per task whose outcome was lost with the process; they do not count against `max_attempts`.
        self.lost: dict[int, int] = {}
        #: Upstream tasks per task that have not succeeded yet.
        self.remaining = [len(node.upstream) for node in dag.tasks]
        #: Tasks that became ready, in that order, until somebody takes them out to let them wait for a slot.
        self.ready: deque[int] = deque()
        #: Results as JSON text.
        self.results: dict[int, bytes] = {}
        #: Error type, message and traceback of failed tasks.
        self.errors: dict[int, Failure] = {}
        #: When tasks in `retrying` are due.
        self.retry_at: dict[int, int] = {}
        self.running = 0
        self.unfinished = len(dag.tasks)
        #: True when some task failed, or a condition could not be told.
        self.unhappy = False
        #: What only runs of graphs that are more than plain need.
        self.unfolding = None if dag.is_plain else Unfolding()

    @property
    def has_failed(self) -> bool:
        """True when the run has failed once everything has ended: some task has, and nothing dealt with that."""
        if self.unfolding is None or not self.unhappy:
            return self.unhappy
        failed = (TaskState.FAILED, TaskState.UPSTREAM_FAILED)
        return any(
            self.tasks[node.index] in failed and not self._is_dealt_with(node)
            for node in self.dag.tasks
            if node.decides
        )

    def _is_dealt_with(self, node: TaskNode) -> bool:
        """Whether something below a task that failed began in spite of it, or could not and speaks for it."""
        nodes, tasks = self.dag.tasks, self.tasks
        speaks = (TaskState.SUCCEEDED, TaskState.FAILED, TaskState.UPSTREAM_FAILED)
        return any(nodes[below].decides and tasks[below] in speaks for below in node.downstream)

    def node(self, index: int) -> TaskNode:
        """The node whose task run this is."""
        nodes = self.dag.tasks
        return nodes[index] if index < len(nodes) else nodes[self.place(index)[0]]

    def name(self, index: int) -> str:
        """The name of a task run in histories."""
        nodes = self.dag.tasks
        if index < len(nodes):
            return nodes[index].task_id
        owner, place = self.place(index)
        return f"{nodes[owner].task_id}[{place}]"

    def place(self, index: int) -> tuple[int, int]:
        """The mapped task's node and the place in its map of a task run beyond the nodes."""
        assert self.unfolding is not None  # noqa: S101 - plain graphs have no such task runs
        return self.unfolding.place(index)

    def index_of(self, name: str) -> int:
        """The task run with this name; raises `KeyError`."""
        found = self.dag.index.get(name)
        if found is not None:
            return found
        named = place_in_name(name)
        if named is None or self.unfolding is None:
            raise KeyError(name)
        runs = self.unfolding.maps[self.dag.index[named[0]]]
        if named[1] >= runs.total:
            raise KeyError(name)
        return runs.index_at(named[1])

    def move(self, index: int, to: TaskState, record: Record) -> None:
        """Change a task run's state; raises `InvalidTransition` for what the table does not have."""
        now = self.tasks[index]
        if to not in TASK_TRANSITIONS[now]:
            raise self.misfit(record, index)
        self.tasks[index] = to
        if now is TaskState.RUNNING:
            self.running -= 1
        elif to is TaskState.RUNNING:
            self.running += 1
        if self.unfolding is not None:
            self.unfolding.busy += (to in _BUSY) - (now in _BUSY)
        if to in FINAL_TASK_STATES:
            self.unfinished -= 1

    def misfit(self, record: Record, index: int | None = None) -> InvalidTransition:
        """The record does not fit: it names what it is about and not what it carries, which is nobody's business."""
        task, attempt = getattr(record, "task", None), getattr(record, "attempt", None)
        name = type(record).__name__ + ("" if task is None else f" of task {task!r}, attempt {attempt}")
        now = str(self.phase) + (", cancelling" if self.cancelling else "")
        if index is not None:
            now = f"{self.tasks[index]} of attempt {self.attempts[index]} ({now})"
        return InvalidTransition(self.run_id, name, now)


class Unfolding:
    """What a run knows of edges, rules and maps while its graph unfolds; changed by the fold only."""

    __slots__ = (
        "_bases",
        "_owners",
        "busy",
        "maps",
        "openings",
        "spawned",
        "tallies",
        "undecided",
        "waits",
    )

    def __init__(self) -> None:
        #: Mapped tasks whose upstream has ended, and whose task runs are not known yet.
        self.openings: list[int] = []
        #: (task, upstream task) whose condition was not asked yet.
        self.undecided: list[tuple[int, int]] = []
        self.tallies: dict[int, Tally] = {}
        #: By node.
        self.maps: dict[int, MapRuns] = {}
        #: Number of task runs that are ready, running or retrying.
        self.busy = 0
        #: Waits that have begun and not ended: when their time is up, and what they wait for.
        self.waits: dict[int, tuple[int | None, dict[str, Any]]] = {}
        #: Arguments as JSON text of the task runs that were spawned, by node.
        self.spawned: dict[int, list[bytes]] = {}
        #: First index of each range of task runs, in order; its node, and its first place there.
        self._bases: list[int] = []
        self._owners: list[tuple[int, int]] = []

    def add_range(self, owner: int, base: int, first: int) -> None:
        """Task runs of a mapped task begin at index `base`, with the one at place `first`."""
        self._bases.append(base)
        self._owners.append((owner, first))

    def place(self, index: int) -> tuple[int, int]:
        """See `RunState.place`."""
        found = bisect_right(self._bases, index) - 1
        owner, first = self._owners[found]
        return owner, first + index - self._bases[found]
