"""`@task` and `@dag`: how people write DAGs. Nothing is checked or built here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, overload

from typing_extensions import Unpack

from tidemill.dag.declaration import DagDefinition
from tidemill.dag.definition import NodeKind
from tidemill.dag.on import On
from tidemill.dag.options import DagOptions, TaskArguments, TaskOptions
from tidemill.dag.retry import Retry
from tidemill.dag.task import Task

__all__ = ["branch", "dag", "short_circuit", "task"]


@overload
def task(function: Callable[..., Any], /) -> Task: ...


@overload
def task(**options: Unpack[TaskArguments]) -> Callable[[Callable[..., Any]], Task]: ...


def task(
    function: Callable[..., Any] | None = None, /, **options: Unpack[TaskArguments]
) -> Task | Callable[[Callable[..., Any]], Task]:
    """Make a task of a coroutine function (run in the event loop) or a plain function (run in a thread).

    `task_id` defaults to the function's name. `retries` counts attempts after the first one; `retry` says the
    same and more. `retry_delay` and `timeout` (also written `execution_timeout`) are timedeltas or seconds;
    `timeout` limits one attempt. `depends_on` lists task ids, tasks or outputs that it waits for without taking a
    result; `trigger_rule` says what they must have come to (Airflow's names).

    `executor` is "loop" (coroutine functions), "thread" (plain ones), "process", "ray" or "dask" (both). `cpu`,
    `memory` and `storage` (bytes or "2GiB"), `gpu` and `resources` (amounts by names of your own) are asked of the
    machine, `environment` (`{"env_vars": {...}, "pip": [...]}`) of a cluster's worker. `idempotent` says that
    calling the task twice does no harm: small ones of these share a cluster's worker and cost far less.

    `pool`, `pool_slots`, `priority`, `weight_rule`, `max_active`, `max_active_per_run`, `start_timeout`,
    `heartbeat`, `depends_on_past`, `cache` and `size_by` are `TaskPolicy`'s; `min_success`, `on_failure`,
    `on_success`, `teardown` and `spawns` are `TaskOptions`'.
    """
    return _task(function, options, NodeKind.TASK)


@overload
def branch(function: Callable[..., Any], /) -> Task: ...


@overload
def branch(**options: Unpack[TaskArguments]) -> Callable[[Callable[..., Any]], Task]: ...


def branch(
    function: Callable[..., Any] | None = None, /, **options: Unpack[TaskArguments]
) -> Task | Callable[[Callable[..., Any]], Task]:
    """Make a task that returns which of the tasks right below it go on: an id, a list of ids, or None for none.

    The others are skipped, but for those that the chosen ones lead to. Options are those of `task`.
    """
    return _task(function, options, NodeKind.BRANCH)


@overload
def short_circuit(function: Callable[..., Any], /) -> Task: ...


@overload
def short_circuit(**options: Unpack[TaskArguments]) -> Callable[[Callable[..., Any]], Task]: ...


def short_circuit(
    function: Callable[..., Any] | None = None, /, **options: Unpack[TaskArguments]
) -> Task | Callable[[Callable[..., Any]], Task]:
    """Make a task below which everything is skipped unless it returns something true.

    What is further below follows its trigger rule. Options are those of `task`.
    """
    return _task(function, options, NodeKind.SHORT_CIRCUIT)


def _task(
    function: Callable[..., Any] | None, options: TaskArguments, kind: NodeKind
) -> Task | Callable[[Callable[..., Any]], Task]:
    unknown = [name for name in options if name not in TaskArguments.__annotations__]
    if unknown:
        raise TypeError(f"a task has no option {', '.join(map(repr, unknown))}")
    made = TaskOptions(**options)
    if function is not None:
        return Task(function, made, kind=kind)
    return lambda decorated: Task(decorated, made, kind=kind)


@overload
def dag(function: Callable[..., Any], /) -> DagDefinition: ...


@overload
def dag(
    *,
    dag_id: str | None = None,
    start_date: datetime | None = None,
    schedule_interval: str | timedelta | datetime | None = None,
    schedule: str | timedelta | datetime | None = None,
    catchup: bool = False,
    max_active_runs: int | None = 16,
    count_waiting: bool | None = None,
    max_active_tasks: int | None = None,
    weight: float = 1.0,
    end_date: datetime | None = None,
    timezone: str = "UTC",
    misfire: Literal["skip", "one", "all"] | None = None,
    jitter: timedelta | None = None,
    description: str = "",
    tags: Sequence[str] = (),
    default_retry: Retry | None = None,
    on_failure: Any = None,
    on_success: Any = None,
    task_defaults: TaskArguments | None = None,
    on: On | Sequence[On] = (),
) -> Callable[[Callable[..., Any]], DagDefinition]: ...


def dag(
    function: Callable[..., Any] | None = None,
    /,
    *,
    dag_id: str | None = None,
    start_date: datetime | None = None,
    schedule_interval: str | timedelta | datetime | None = None,
    schedule: str | timedelta | datetime | None = None,
    catchup: bool = False,
    max_active_runs: int | None = 16,
    count_waiting: bool | None = None,
    max_active_tasks: int | None = None,
    weight: float = 1.0,
    end_date: datetime | None = None,
    timezone: str = "UTC",
    misfire: Literal["skip", "one", "all"] | None = None,
    jitter: timedelta | None = None,
    description: str = "",
    tags: Sequence[str] = (),
    default_retry: Retry | None = None,
    on_failure: Any = None,
    on_success: Any = None,
    task_defaults: TaskArguments | None = None,
    on: On | Sequence[On] = (),
) -> DagDefinition | Callable[[Callable[..., Any]], DagDefinition]:
    """Make a DAG of a function that calls tasks; its own parameters are the parameters of a run.

    `dag_id` defaults to the function's name. `schedule_interval` (also written `schedule`) is a cron
    expression of five fields, six with seconds first, an alias such as `@daily`, a timedelta, or a datetime
    for one run at that moment; `timezone` is where cron fields are read. Naive datetimes are UTC. `catchup`
    starts a run for every tick missed since `start_date`. `misfire` says what becomes of ticks missed later:
    "skip" none, "one" the latest (the default), "all" of them. `jitter` spreads ticks over that much time.
    `max_active_tasks` limits tasks of one run that run at once. `weight` is the DAG's part of a pool, or of an
    executor, that several DAGs contend for, against 1 of the others.
    `on_failure` and `on_success` are tasks that are called when everything else has ended.
    `default_retry` and `task_defaults` are for tasks that say nothing themselves. `on` lists triggers that
    start it (`trigger`).
    """
    both = schedule is not None and schedule_interval is not None
    problems = ("schedule and schedule_interval mean the same; give one of them",) if both else ()

    def declare(decorated: Callable[..., Any]) -> DagDefinition:
        options = DagOptions(
            dag_id=getattr(decorated, "__name__", "") if dag_id is None else dag_id,
            schedule_interval=schedule_interval if schedule is None else schedule,
            start_date=start_date,
            end_date=end_date,
            catchup=catchup,
            timezone=timezone,
            misfire=misfire,
            jitter=jitter,
            max_active_runs=max_active_runs,
            count_waiting=count_waiting,
            max_active_tasks=max_active_tasks,
            weight=weight,
            description=description,
            tags=tags,
            default_retry=default_retry,
            on_failure=on_failure,
            on_success=on_success,
            task_defaults=task_defaults,
            on=on,
        )
        return DagDefinition(decorated, options, problems=problems)

    return declare if function is None else declare(function)
