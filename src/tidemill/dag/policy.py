"""How a task is scheduled and remembered, beside what it does: plain values that the engine reads."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

__all__ = ["DEFAULT_POLICY", "DEFAULT_POOL", "Cache", "TaskPolicy", "TriggerRule", "WeightRule"]

#: The pool of tasks that name none; without a limit of its own.
DEFAULT_POOL = "default"


class TriggerRule(StrEnum):
    """What a task's upstream must have come to before it starts (Airflow's names and meaning)."""

    ALL_SUCCESS = "all_success"
    ALL_FAILED = "all_failed"
    ALL_DONE = "all_done"
    ALL_SKIPPED = "all_skipped"
    ONE_SUCCESS = "one_success"
    ONE_FAILED = "one_failed"
    ONE_DONE = "one_done"
    NONE_FAILED = "none_failed"
    NONE_FAILED_MIN_ONE_SUCCESS = "none_failed_min_one_success"
    NONE_SKIPPED = "none_skipped"
    ALWAYS = "always"


class WeightRule(StrEnum):
    """How a task's priority follows from what is written (Airflow's names and meaning)."""

    #: The task's own and those of everything below it.
    DOWNSTREAM = "downstream"
    #: The task's own and those of everything above it.
    UPSTREAM = "upstream"
    #: The task's own.
    ABSOLUTE = "absolute"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cache:
    """Whether a result may be used again for the same code and the same inputs."""

    #: How long a result is good for; None for as long as it is kept.
    max_age: timedelta | None = None
    #: Changes when what the task does has changed in a way that its code does not show.
    version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskPolicy:
    """What the scheduler and the engine need to know of a task that asks for more than a slot."""

    priority: int = 0
    weight_rule: WeightRule = WeightRule.ABSOLUTE
    pool: str = DEFAULT_POOL
    #: Slots of its pool that one attempt takes.
    pool_slots: int = 1
    #: Attempts of this task that run at once, over all runs of its DAG; None for no limit.
    max_active: int | None = None
    #: The same within one run; what limits a map.
    max_active_per_run: int | None = None
    #: Longest wait from ready to started; an attempt that waited longer has failed with `StartTimedOut`.
    start_timeout: timedelta | None = None
    #: Longest silence of an attempt that reports by `Context.heartbeat`; then it is lost.
    heartbeat: timedelta | None = None
    #: Starts only when the same task of the DAG's previous run succeeded or was skipped.
    depends_on_past: bool = False
    cache: Cache | None = None
    #: Parameter whose size (a number, or the length of a text or list) durations are learned by.
    size_by: str | None = None
    #: Name of the serializer of what it returns (see `serializers`).
    result: str = "json"


DEFAULT_POLICY = TaskPolicy()
