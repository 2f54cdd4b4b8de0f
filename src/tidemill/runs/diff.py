"""How two runs of a DAG differ: what they were given, and what became of each task. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from tidemill.runs.view import TaskView

__all__ = ["RunDiff", "TaskDiff", "TaskSide", "diff_runs"]

#: Longest result that is told as it is, in bytes of JSON.
_TOLD = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSide:
    """A task in one of the runs."""

    state: str
    attempts: int
    #: From the first attempt's start to the end; None where it has none.
    seconds: float | None
    #: First digits of the SHA-256 of the result's JSON text; empty without one.
    digest: str
    #: The result, where it is short.
    result: Any
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskDiff:
    """One task in both; None where a run does not have it."""

    task_id: str
    before: TaskSide | None
    after: TaskSide | None
    #: What is not the same: `state`, `attempts`, `result`, `error`; durations never are.
    differs: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDiff:
    """Two runs side by side."""

    #: Parameters that are not the same: what each run was given, None where it was not.
    parameters: Mapping[str, tuple[Any, Any]]
    tasks: Sequence[TaskDiff]
    #: The first task in the order of the graph that came to something else; None when none did.
    first: str | None


def diff_runs(
    parameters: tuple[Mapping[str, Any], Mapping[str, Any]],
    tasks: tuple[Sequence[TaskView], Sequence[TaskView]],
) -> RunDiff:
    """The runs' parameters and tasks compared; tasks in the order of the second run's graph."""
    before, after = ({view.task_id: view for view in views} for views in tasks)
    names = [*after, *(name for name in before if name not in after)]
    diffs = [_task(name, before.get(name), after.get(name)) for name in names]
    outcomes = {"state", "result", "error"}
    return RunDiff(
        parameters=_parameters(*parameters),
        tasks=diffs,
        first=next((one.task_id for one in diffs if outcomes & set(one.differs)), None),
    )


def _parameters(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {
        name: (before.get(name), after.get(name))
        for name in sorted(before.keys() | after.keys())
        if name not in before or name not in after or before[name] != after[name]
    }


def _task(name: str, before: TaskView | None, after: TaskView | None) -> TaskDiff:
    was, now = (None if view is None else _side(view) for view in (before, after))
    if was is None or now is None:
        return TaskDiff(task_id=name, before=was, after=now, differs=("state",))
    pairs = {
        "state": (was.state, now.state),
        "attempts": (was.attempts, now.attempts),
        "result": (was.digest, now.digest),
        "error": (was.error, now.error),
    }
    differs = [what for what, (one, other) in pairs.items() if one != other]
    return TaskDiff(task_id=name, before=was, after=now, differs=differs)


def _side(view: TaskView) -> TaskSide:
    error = "" if view.error is None else f"{view.error.error_type}: {view.error.message}"
    seconds = None
    if view.started_at is not None and view.ended_at is not None:
        seconds = (view.ended_at - view.started_at) / 1_000_000
    text = view.result
    return TaskSide(
        state=view.state.value,
        attempts=view.attempts,
        seconds=seconds,
        digest="" if text is None else hashlib.sha256(_canonical(text)).hexdigest()[:12],
        result=orjson.loads(text) if text is not None and len(text) <= _TOLD else None,
        error=error,
    )


def _canonical(text: bytes) -> bytes:
    """The same for the same value, in whatever order its members came."""
    return orjson.dumps(orjson.loads(text), option=orjson.OPT_SORT_KEYS)
