"""What people write as arguments of `@task` and `@dag`, and what is wrong with it.

Nothing is refused while it is written down: every wrong option is found at build, together with all the
others.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any, TypedDict

from tidemill.dag.on import On
from tidemill.dag.policy import DEFAULT_POLICY, DEFAULT_POOL, Cache, TaskPolicy, TriggerRule, WeightRule
from tidemill.dag.resources import EXECUTORS, HERE, Environment, ResourceOptions
from tidemill.dag.retry import GROWTHS, Retry

__all__ = ["DagOptions", "TaskArguments", "TaskOptions", "check_id", "listed"]

#: Options that make sense for a single task only.
_OWN_OPTIONS = frozenset({"task_id", "depends_on", "teardown", "spawns", "compensate", "min_success"})

#: Ids go into URLs, file names, event attributes and logs.
_ID = re.compile(r"[A-Za-z0-9_.-]{1,250}")


def listed(value: Any) -> tuple[Any, ...]:
    """What was written as one thing, a list of things, or not at all."""
    match value:
        case None:
            return ()
        case list() | tuple() | set() | frozenset():
            return tuple(value)
        case one:
            return (one,)


def check_id(kind: str, value: object) -> Iterator[str]:
    """Problems of an id (`kind` names which)."""
    if not isinstance(value, str) or not _ID.fullmatch(value):
        yield f"{kind} {_shorten(value)} must have 1 to 250 characters out of A-Z a-z 0-9 _ . -"


class TaskArguments(TypedDict, total=False):
    """What `@task(...)` and `.override(...)` take; `TaskOptions` says what each one means."""

    task_id: str | None
    retries: int | None
    retry: Retry | None
    retry_delay: timedelta | float | None
    timeout: timedelta | float | None
    execution_timeout: timedelta | float | None
    depends_on: Any
    trigger_rule: TriggerRule | str | None
    executor: str | None
    cpu: float | None
    memory: int | str | None
    storage: int | str | None
    gpu: float | None
    resources: Mapping[str, float] | None
    environment: Environment | None
    idempotent: bool | None
    priority: int | None
    weight_rule: WeightRule | str | None
    pool: str | None
    pool_slots: int | None
    max_active: int | None
    max_active_per_run: int | None
    start_timeout: timedelta | float | None
    heartbeat: timedelta | float | None
    depends_on_past: bool | None
    cache: Cache | bool | timedelta | None
    result: str | None
    size_by: str | None
    min_success: float | int | None
    on_failure: Any
    on_success: Any
    teardown: Any
    spawns: Any
    compensate: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskOptions:
    """Options of one task as written; None where nothing was written."""

    task_id: str | None = None
    #: Attempts after the first one (Airflow's word).
    retries: int | None = None
    retry: Retry | None = None
    retry_delay: timedelta | float | None = None
    timeout: timedelta | float | None = None
    execution_timeout: timedelta | float | None = None
    #: Task ids, tasks or outputs.
    depends_on: Any = None
    #: Name of an executor; the function's kind decides when none is given.
    executor: str | None = None
    cpu: float | None = None
    #: Bytes, or a text with a unit.
    memory: int | str | None = None
    gpu: float | None = None
    #: Bytes of disk, or a text with a unit.
    storage: int | str | None = None
    resources: Any = None
    environment: Any = None
    idempotent: bool | None = None
    #: A `TriggerRule` or its name.
    trigger_rule: Any = None
    priority: int | None = None
    weight_rule: Any = None
    pool: str | None = None
    pool_slots: int | None = None
    max_active: int | None = None
    max_active_per_run: int | None = None
    start_timeout: timedelta | float | None = None
    heartbeat: timedelta | float | None = None
    depends_on_past: bool | None = None
    #: A `Cache`, True for one without limits, or how long a result is good for.
    cache: Any = None
    #: Name of the serializer of what the task returns: "json", "tagged", "typed" or a package's own.
    result: str | None = None
    size_by: str | None = None
    #: Of a mapped task: how many (a whole number) or which share (up to 1.0) must succeed; all when not given.
    min_success: float | int | None = None
    #: Tasks that are called when this one has failed for good, or succeeded.
    on_failure: Any = None
    on_success: Any = None
    #: True, or the task (or output) whose success it cleans up after: runs however the run ends.
    teardown: Any = None
    #: Tasks that this one may add to its run while it runs (`Context.spawn`); "self" is the task itself.
    spawns: Any = None
    #: The task that undoes what this one did; called with its result when the run fails or is cancelled.
    compensate: Any = None

    def override(self, **given: Any) -> TaskOptions:
        """These options with those of `given` that are not None; one wording replaces the other."""
        changes = {name: value for name, value in given.items() if value is not None}
        if "retry" in changes:
            changes = {"retries": None, "retry_delay": None} | changes
        elif "retries" in changes:
            changes["retry"] = None
        if "timeout" in changes or "execution_timeout" in changes:
            changes = {"timeout": None, "execution_timeout": None} | changes
        return replace(self, **changes)

    def with_defaults(self, defaults: Mapping[str, Any]) -> TaskOptions:
        """These options, and `defaults` for what they say nothing of."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        return TaskOptions().override(**defaults).override(**given)

    def dependencies(self) -> tuple[Any, ...]:
        """What `depends_on` lists; one thing may be written without a list."""
        return listed(self.depends_on)

    def time_limit(self) -> timedelta | None:
        """How long one attempt may take."""
        return _duration(self.execution_timeout if self.timeout is None else self.timeout)

    def executor_for(self, *, is_coroutine: bool) -> str:
        """Name of the executor that runs the attempts: plain functions with a limit of memory need a process."""
        if self.executor is not None:
            return self.executor
        if is_coroutine:
            return "loop"
        return "thread" if self.memory is None else "process"

    def rule(self) -> TriggerRule:
        """What its upstream must have come to."""
        return TriggerRule.ALL_SUCCESS if self.trigger_rule is None else TriggerRule(self.trigger_rule)

    def policy(self) -> TaskPolicy:
        """How it is scheduled and remembered; only for options without problems."""
        made = TaskPolicy(
            priority=self.priority or 0,
            weight_rule=WeightRule(self.weight_rule or WeightRule.ABSOLUTE),
            pool=self.pool or DEFAULT_POOL,
            pool_slots=self.pool_slots or 1,
            max_active=self.max_active,
            max_active_per_run=self.max_active_per_run,
            start_timeout=_duration(self.start_timeout),
            heartbeat=_duration(self.heartbeat),
            depends_on_past=bool(self.depends_on_past),
            cache=_cache(self.cache),
            size_by=self.size_by,
            result=self.result or "json",
        )
        return DEFAULT_POLICY if made == DEFAULT_POLICY else made

    def request(self) -> ResourceOptions:
        """What is asked of the machine."""
        return ResourceOptions(
            cpu=self.cpu,
            memory=self.memory,
            storage=self.storage,
            gpu=self.gpu,
            resources=self.resources,
            environment=self.environment,
            idempotent=self.idempotent,
        )

    def executor_problems(self, *, is_coroutine: bool) -> Iterator[str]:
        """What is wrong with where and with what a function of this kind is to run."""
        if self.executor is not None and self.executor not in EXECUTORS:
            names = ", ".join(EXECUTORS)
            yield f"executor must be one of {names}, not {_shorten(self.executor)}"
            return
        if self.executor == "thread" and is_coroutine:
            yield 'executor="thread" runs plain functions; write def instead of async def'
        if self.executor == "loop" and not is_coroutine:
            yield 'executor="loop" runs coroutine functions; write async def instead of def'
        executor = self.executor_for(is_coroutine=is_coroutine)
        yield from self.request().problems(executor)
        if self.heartbeat is not None and executor not in HERE:
            yield f"heartbeat cannot be watched on executor {executor!r}; give a timeout"

    def retry_policy(self, default: Retry) -> Retry:
        """How failed attempts are tried again, `default` where nothing was written."""
        policy = self.retry or default
        if self.retries is not None:
            policy = replace(policy, max_attempts=self.retries + 1)
        if (delay := _duration(self.retry_delay)) is not None:
            policy = replace(policy, delay=delay, max_delay=max(delay, policy.max_delay))
        return policy

    def problems(self) -> Iterator[str]:
        """Everything that is wrong with these options."""
        if self.task_id is not None:
            yield from check_id("task id", self.task_id)
        if self.retries is not None and not _is_count(self.retries, 0):
            yield f"retries must be a whole number from 0, not {_shorten(self.retries)}"
        if self.retry is not None:
            yield from _retry_problems("retry", self.retry)
            if self.retries is not None or self.retry_delay is not None:
                yield "give either retry=Retry(...) or retries and retry_delay, not both"
        yield from _duration_problems("retry_delay", self.retry_delay, zero=True)
        yield from _duration_problems("timeout", self.timeout, zero=False)
        yield from _duration_problems("execution_timeout", self.execution_timeout, zero=False)
        if self.timeout is not None and self.execution_timeout is not None:
            yield "timeout and execution_timeout mean the same; give one of them"
        yield from self._policy_problems()

    def _policy_problems(self) -> Iterator[str]:
        yield from _choice_problems("trigger_rule", self.trigger_rule, TriggerRule)
        yield from _choice_problems("weight_rule", self.weight_rule, WeightRule)
        if self.priority is not None and not _is_count(self.priority, -1_000_000):
            yield f"priority must be a whole number from -1000000, not {_shorten(self.priority)}"
        if self.pool is not None:
            yield from check_id("pool", self.pool)
        for name in ("pool_slots", "max_active", "max_active_per_run"):
            value = getattr(self, name)
            if value is not None and not _is_count(value, 1):
                yield f"{name} must be a whole number from 1, not {_shorten(value)}"
        yield from _duration_problems("start_timeout", self.start_timeout, zero=False)
        yield from _duration_problems("heartbeat", self.heartbeat, zero=False)
        if self.depends_on_past is not None and not isinstance(self.depends_on_past, bool):
            yield f"depends_on_past must be True or False, not {_shorten(self.depends_on_past)}"
        yield from _cache_problems(self.cache)
        if self.size_by is not None and not (isinstance(self.size_by, str) and self.size_by.isidentifier()):
            yield f"size_by must name a parameter of the task, not {_shorten(self.size_by)}"
        if self.min_success is not None and not _is_share(self.min_success):
            yield (
                "min_success must be a whole number from 0 or a share from 0.0 to 1.0, "
                f"not {_shorten(self.min_success)}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class DagOptions:
    """Options of one DAG as written."""

    dag_id: str
    schedule_interval: str | timedelta | datetime | None = None
    start_date: datetime | None = None
    end_date: datetime | None = None
    catchup: bool = False
    timezone: str = "UTC"
    misfire: str | None = None
    jitter: timedelta | None = None
    max_active_runs: int | None = 16
    #: Whether runs that only wait count against it; None: where it is 1.
    count_waiting: bool | None = None
    max_active_tasks: int | None = None
    weight: float = 1.0
    description: str = ""
    tags: Sequence[str] = ()
    default_retry: Retry | None = None
    #: Tasks that are called when everything else has ended, and something failed, or nothing did.
    on_failure: Any = None
    on_success: Any = None
    #: Options of tasks that say nothing themselves (`TaskArguments`).
    task_defaults: Mapping[str, Any] | None = None
    on: On | Sequence[On] = ()

    @property
    def triggers(self) -> tuple[On, ...]:
        """The triggers that stand beside the DAG."""
        return (self.on,) if isinstance(self.on, On) else tuple(self.on)

    def problems(self) -> Iterator[str]:
        """Everything that is wrong with these options, the schedule left to `schedule.parse_schedule`."""
        yield from check_id("DAG id", self.dag_id)
        if self.max_active_runs is not None and not _is_count(self.max_active_runs, 1):
            yield f"max_active_runs must be a whole number from 1 or None, not {_shorten(self.max_active_runs)}"
        if self.count_waiting is not None and not isinstance(self.count_waiting, bool):
            yield f"count_waiting must be True or False, not {_shorten(self.count_waiting)}"
        if self.max_active_tasks is not None and not _is_count(self.max_active_tasks, 1):
            yield f"max_active_tasks must be a whole number from 1, not {_shorten(self.max_active_tasks)}"
        if not _is_number(self.weight) or not 0 < self.weight <= 1_000_000:
            yield f"weight must be a number above 0, at most 1000000, not {_shorten(self.weight)}"
        if not isinstance(self.description, str):
            yield f"description must be text, not {type(self.description).__name__}"
        if not isinstance(self.tags, list | tuple) or not all(isinstance(tag, str) for tag in self.tags):
            yield "tags must be a list of texts"
        if self.default_retry is not None:
            yield from _retry_problems("default_retry", self.default_retry)
        yield from _default_problems(self.task_defaults)
        given = self.on if isinstance(self.on, list | tuple) else [self.on]
        if not all(isinstance(one, On) for one in given):
            yield "on must be trigger(...), or a list of them"


def _choice_problems(
    name: str, value: object, choices: type[TriggerRule] | type[WeightRule]
) -> Iterator[str]:
    if value is not None and value not in set(choices):
        yield f"{name} must be one of {', '.join(choices)}, not {_shorten(value)}"


def _cache(value: Any) -> Cache | None:
    match value:
        case None | False:
            return None
        case True:
            return Cache()
        case timedelta():
            return Cache(max_age=value)
    return value  # type: ignore[no-any-return]


def _cache_problems(value: object) -> Iterator[str]:
    match value:
        case None | bool():
            return
        case timedelta():
            yield from _duration_problems("cache", value, zero=False)
        case Cache():
            yield from _duration_problems("cache: max_age", value.max_age, zero=False)
            if not isinstance(value.version, str):
                yield f"cache: version must be a text, not {_shorten(value.version)}"
        case _:
            yield f"cache must be True, a timedelta or Cache(...), not {_shorten(value)}"


def _default_problems(value: object) -> Iterator[str]:
    if value is None:
        return
    if not isinstance(value, Mapping):
        yield f"task_defaults must be options of tasks by name, not {_shorten(value)}"
        return
    for name in value:
        if name not in TaskArguments.__annotations__ or name in _OWN_OPTIONS:
            yield f"task_defaults: {_shorten(name)} is no option that tasks can share"


def _is_share(value: object) -> bool:
    if isinstance(value, float):
        return 0 <= value <= 1
    return _is_count(value, 0)


def _is_count(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _duration(value: timedelta | float | None) -> timedelta | None:
    return timedelta(seconds=value) if isinstance(value, int | float) else value


def _duration_problems(name: str, value: object, *, zero: bool) -> Iterator[str]:
    wanted = f"{name} must be a timedelta or seconds, {'not negative' if zero else 'above 0'}"
    match value:
        case None:
            return
        case timedelta():
            seconds = value.total_seconds()
        case int() | float() if not isinstance(value, bool):
            seconds = float(value)
        case _:
            yield f"{wanted}, not {_shorten(value)}"
            return
    if not math.isfinite(seconds) or seconds > timedelta.max.total_seconds():
        yield f"{wanted}, and finite"
    elif seconds < 0 or (seconds == 0 and not zero):
        yield f"{wanted}, not {_shorten(value)}"


def _retry_problems(name: str, retry: object) -> Iterator[str]:
    if not isinstance(retry, Retry):
        yield f"{name} must be a Retry, not {type(retry).__name__}"
        return
    if not _is_count(retry.max_attempts, 1):
        yield f"{name}: max_attempts must be a whole number from 1 (the first attempt counts)"
    for field in ("delay", "max_delay"):
        value = getattr(retry, field)
        if not isinstance(value, timedelta) or value < timedelta(0):
            yield f"{name}: {field} must be a timedelta, not negative"
    if not _is_number(retry.backoff) or not 1 <= retry.backoff < math.inf:
        yield f"{name}: backoff must be a number from 1"
    if retry.jitter != "full" and (not _is_number(retry.jitter) or not 0 <= retry.jitter <= 1):
        yield f'{name}: jitter must be a number from 0 to 1, or "full"'
    if retry.growth not in GROWTHS:
        yield f"{name}: growth must be one of {', '.join(GROWTHS)}, not {_shorten(retry.growth)}"
    for field in ("retry_on", "give_up_on"):
        yield from _exception_problems(f"{name}: {field}", getattr(retry, field))


def _exception_problems(name: str, given: object) -> Iterator[str]:
    wanted = f"{name} must be exception types or their dotted names"
    if not isinstance(given, tuple):
        yield f"{wanted}, not {_shorten(given)}"
        return
    for one in given:
        if isinstance(one, type) and issubclass(one, BaseException):
            continue
        if not isinstance(one, str) or not all(part.isidentifier() for part in one.split(".")):
            yield f"{wanted}, not {_shorten(one)}"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _shorten(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
