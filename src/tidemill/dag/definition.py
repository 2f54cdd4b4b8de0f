"""What a DAG is once it is loaded: plain values that the engine walks by index.

Nothing here knows how a DAG is written down (`decorators`) or run (`runs`, `engine`). Tasks are numbered in
topological order, so that cost follows the tasks that change and never the size of the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from tidemill.dag.on import On
from tidemill.dag.policy import DEFAULT_POLICY, TaskPolicy
from tidemill.dag.resources import NO_RESOURCES, Resources
from tidemill.dag.retry import Retry

__all__ = ["Dag", "Schedule", "TaskNode"]


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
    #: What it asks of the machine that runs it.
    resources: Resources = NO_RESOURCES
    #: Its executor makes the arguments: it runs elsewhere, or takes results that may be kept elsewhere.
    is_deferred: bool = False
    #: Indexes of the results that the arguments refer to, where they are deferred.
    reads: tuple[int, ...] = ()
    #: `binding.resolve`, compiled for this task; None when nothing needs to be made.
    bind: Callable[[Any, Mapping[str, Any]], tuple[tuple[Any, ...], Mapping[str, Any]]] | None = field(
        default=None, repr=False, compare=False
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
    #: Limit of tasks of one run that run at once; None for no limit of its own.
    max_active_tasks: int | None = None
    description: str = ""
    tags: Sequence[str] = ()
    #: Triggers that stand beside it.
    on: Sequence[On] = ()
    #: Relative path of the file that defines it, its line, and its text.
    file: str = ""
    line: int = 0
    source: str = field(default="", repr=False)
    #: True when some task asks for its context; follows from the tasks.
    needs_event: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "needs_event", any(node.context_parameter is not None for node in self.tasks)
        )
