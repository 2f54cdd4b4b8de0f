"""What people write as arguments of `@task` and `@dag`, and what is wrong with it.

Nothing is refused while it is written down: every wrong option is found at build, together with all the
others.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from tidemill.dag.on import On
from tidemill.dag.resources import EXECUTORS, ResourceOptions
from tidemill.dag.retry import Retry

__all__ = ["DagOptions", "TaskOptions", "check_id"]

#: Ids go into URLs, file names, event attributes and logs.
_ID = re.compile(r"[A-Za-z0-9_.-]{1,250}")


def check_id(kind: str, value: object) -> Iterator[str]:
    """Problems of an id (`kind` names which)."""
    if not isinstance(value, str) or not _ID.fullmatch(value):
        yield f"{kind} {_shorten(value)} must have 1 to 250 characters out of A-Z a-z 0-9 _ . -"


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
    resources: Any = None
    environment: Any = None
    idempotent: bool | None = None

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

    def dependencies(self) -> tuple[Any, ...]:
        """What `depends_on` lists; one thing may be written without a list."""
        match self.depends_on:
            case None:
                return ()
            case list() | tuple() | set() | frozenset():
                return tuple(self.depends_on)
            case one:
                return (one,)

    def time_limit(self) -> timedelta | None:
        """How long one attempt may take."""
        return _duration(self.execution_timeout if self.timeout is None else self.timeout)

    def executor_for(self, *, is_coroutine: bool) -> str:
        """Name of the executor that runs the attempts."""
        return self.executor or ("loop" if is_coroutine else "thread")

    def request(self) -> ResourceOptions:
        """What is asked of the machine."""
        return ResourceOptions(
            cpu=self.cpu,
            memory=self.memory,
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
        yield from self.request().problems(self.executor_for(is_coroutine=is_coroutine))

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
    max_active_tasks: int | None = None
    description: str = ""
    tags: Sequence[str] = ()
    default_retry: Retry | None = None
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
        if self.max_active_tasks is not None and not _is_count(self.max_active_tasks, 1):
            yield f"max_active_tasks must be a whole number from 1, not {_shorten(self.max_active_tasks)}"
        if not isinstance(self.description, str):
            yield f"description must be text, not {type(self.description).__name__}"
        if not isinstance(self.tags, list | tuple) or not all(isinstance(tag, str) for tag in self.tags):
            yield "tags must be a list of texts"
        if self.default_retry is not None:
            yield from _retry_problems("default_retry", self.default_retry)
        given = self.on if isinstance(self.on, list | tuple) else [self.on]
        if not all(isinstance(one, On) for one in given):
            yield "on must be trigger(...), or a list of them"


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
    if not _is_number(retry.jitter) or not 0 <= retry.jitter <= 1:
        yield f"{name}: jitter must be a number from 0 to 1"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _shorten(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
