"""What a DAG is once it is loaded: plain values that the engine walks by index.

Nothing here knows how a DAG is written down (`decorators`) or run (`runs`, `engine`). Tasks are numbered in
topological order, so that cost follows the tasks that change and never the size of the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Literal

from tidemill.dag.edges import Edge
from tidemill.dag.on import On
from tidemill.dag.policy import DEFAULT_POLICY, TaskPolicy, TriggerRule
from tidemill.dag.resources import NO_RESOURCES, Resources
from tidemill.dag.retry import Retry
from tidemill.dag.serializers import JSON_RESULT, decoder_of
from tidemill.dag.wait_spec import WaitSpec

__all__ = ["Dag", "MapSpec", "NodeKind", "Schedule", "TaskNode"]


class NodeKind(StrEnum):
    """What a task's result means for those below."""

    TASK = "task"
    #: It names the tasks below that go on; the others are skipped.
    BRANCH = "branch"
    #: Unless it is true, everything below is skipped.
    SHORT_CIRCUIT = "short_circuit"
    #: Nobody calls it: it waits for a time, an event or people (`TaskNode.wait`).
    WAIT = "wait"


@dataclass(frozen=True, slots=True, kw_only=True)
class MapSpec:
    """What a task is called for item by item, and when that has succeeded."""

    #: Parameter and list: a constant, or a `binding` reference.
    values: tuple[tuple[str, Any], ...]
    is_product: bool
    #: How many (a whole number) or which share of the task runs must succeed; None for all.
    min_success: float | int | None = None


#: Rules that do not wait for all upstream tasks to end.
_EARLY = (TriggerRule.ONE_SUCCESS, TriggerRule.ONE_FAILED, TriggerRule.ONE_DONE, TriggerRule.ALWAYS)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskNode:
    """One task of one DAG."""

    #: Unique within the DAG.
    task_id: str
    #: Place in `Dag.tasks`; every upstream task has a smaller one.
    index: int
    #: The user's function, undecorated.
    function: Callable[..., Any]
    #: True for coroutine functions (run in the event loop), False for plain ones (run in a thread).
    is_coroutine: bool
    #: Name of the executor that runs its attempts.
    executor: str
    #: Name of the parameter that takes the `Context`, where the function asks for one.
    context_parameter: str | None
    #: Positional and keyword arguments; each is a constant, or contains `binding` references.
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    #: True when args and kwargs must be made anew for each attempt: they refer to results or parameters, or
    #: hold lists or dicts that a task could change (False: they can be used as they are). See
    #: `binding.resolve`.
    has_references: bool
    upstream: tuple[int, ...]
    downstream: tuple[int, ...]
    retry: Retry
    timeout: timedelta | None = None
    policy: TaskPolicy = DEFAULT_POLICY
    kind: NodeKind = NodeKind.TASK
    #: What it waits for, where it is a wait.
    wait: WaitSpec | None = None
    rule: TriggerRule = TriggerRule.ALL_SUCCESS
    #: By upstream index, where something else than its success counts.
    edges: Mapping[int, Edge] = field(default_factory=dict)
    mapped: MapSpec | None = None
    #: Cleans up: starts when everything above has ended, however the run ends, once its `setups` succeeded.
    is_teardown: bool = False
    setups: tuple[int, ...] = ()
    #: False: its failure is not the run's.
    decides: bool = True
    #: Starts when everything above has ended and something failed ("failure") or nothing did ("success").
    fate: Literal["failure", "success"] | None = None
    #: Whose fate that is; empty for that of everything above.
    fate_of: tuple[int, ...] = ()
    #: True when its task runs are those that other tasks ask for while they run.
    is_spawned: bool = False
    #: Tasks that it may ask for.
    spawns: tuple[int, ...] = ()
    #: What it asks of the machine that runs it.
    resources: Resources = NO_RESOURCES
    #: Line of the call in the DAG's file; 0 when unknown.
    line: int = field(default=0, compare=False)
    #: Its executor makes the arguments: it runs elsewhere, or takes results that may be kept elsewhere.
    is_deferred: bool = False
    #: Indexes of the results that the arguments refer to, where they are deferred.
    reads: tuple[int, ...] = ()
    #: `binding.resolve`, compiled for this task; None when nothing needs to be made.
    bind: Callable[[Any, Mapping[str, Any]], tuple[tuple[Any, ...], Mapping[str, Any]]] | None = field(
        default=None, repr=False, compare=False
    )
    #: True when it may start while upstream tasks have not ended.
    is_early: bool = field(init=False)
    #: True when it starts as soon as all upstream tasks have succeeded, and tells nothing but its end.
    is_plain: bool = field(init=False)

    def __post_init__(self) -> None:
        is_plain = self.rule is TriggerRule.ALL_SUCCESS and self.kind is NodeKind.TASK and self.fate is None
        is_plain = is_plain and not self.edges and self.mapped is None and not self.is_teardown
        is_plain = is_plain and not self.spawns
        object.__setattr__(self, "is_plain", is_plain)
        object.__setattr__(
            self, "is_early", self.rule in _EARLY and self.fate is None and not self.is_teardown
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When the clock starts a DAG by itself."""

    #: Five- or six-field cron expression (aliases such as `@daily` expanded; six fields begin with seconds),
    #: or None for an interval.
    cron: str | None
    interval: timedelta | None
    start_date: datetime | None
    end_date: datetime | None
    catchup: bool
    #: IANA name.
    timezone: str
    #: One moment, in place of cron and interval.
    at: datetime | None = None
    #: What becomes of ticks that were missed: none is told, the latest, or all; None: as `catchup` says.
    misfire: Literal["skip", "one", "all"] | None = None
    #: Ticks are told up to this much later.
    jitter: timedelta = timedelta(0)

    @property
    def policy(self) -> Literal["skip", "one", "all"]:
        """What becomes of ticks that were missed."""
        return self.misfire or ("all" if self.catchup else "one")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dag:
    """One version of one DAG, its graph complete."""

    dag_id: str
    #: Hash of source text and graph.
    version: str
    #: In topological order.
    tasks: tuple[TaskNode, ...]
    #: Task id to index.
    index: Mapping[str, int]
    #: Indexes of tasks without upstream.
    roots: tuple[int, ...]
    #: What the DAG function returned: a tree of constants and `binding` references; None when nothing.
    output: Any
    #: Checks and converts parameters; see `parameters.Parameters`.
    parameters: Any
    schedule: Schedule | None = None
    #: Runs that are live at once; None for no limit.
    max_active_runs: int | None = 16
    #: Whether runs that only wait count against `max_active_runs`; None: where that is 1, which means one after the
    #: other.
    count_waiting: bool | None = None
    #: Limit of tasks of one run that run at once; None for no limit of its own.
    max_active_tasks: int | None = None
    #: Its part of a pool that several DAGs contend for, against 1 of the others.
    weight: float = 1.0
    description: str = ""
    tags: Sequence[str] = ()
    #: Triggers that stand beside it.
    on: Sequence[On] = ()
    #: Relative path of the file that defines it, its line, and its text.
    file: str = ""
    line: int = 0
    source: str = field(default="", repr=False)
    #: Texts of the modules beside the file that its code is made of, by path relative to the workflows folder; part of
    #: the version. None: not known (a version that was kept before they were).
    modules: Mapping[str, str] | None = field(default=None, repr=False)
    #: True when some task asks for its context; follows from the tasks.
    needs_event: bool = field(init=False)
    #: True when all its tasks are.
    is_plain: bool = field(init=False)
    teardowns: tuple[int, ...] = field(init=False)
    #: Tasks that wait and are never called.
    waits: frozenset[int] = field(init=False)
    #: What makes values of results that are not JSON as it is, by index of the task; None where all are.
    decoders: Mapping[int, Callable[[Any], Any]] | None = field(init=False, repr=False, compare=False)

    @property
    def counts_waiting(self) -> bool:
        """Whether runs that only wait hold a place of `max_active_runs`."""
        if self.max_active_runs is None:
            return False
        return self.max_active_runs == 1 if self.count_waiting is None else self.count_waiting

    def __post_init__(self) -> None:
        tasks = self.tasks
        object.__setattr__(self, "is_plain", all(node.is_plain for node in tasks))
        coded = [node for node in tasks if node.policy.result != JSON_RESULT]
        decoders = {
            n.index: decoder_of(n.policy.result, n.function, each=n.mapped is not None) for n in coded
        }
        object.__setattr__(self, "decoders", decoders or None)
        object.__setattr__(self, "waits", frozenset(n.index for n in tasks if n.kind is NodeKind.WAIT))
        object.__setattr__(self, "teardowns", tuple(n.index for n in tasks if n.is_teardown))
        object.__setattr__(
            self, "needs_event", any(node.context_parameter is not None for node in self.tasks)
        )
