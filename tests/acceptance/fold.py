"""A second, independent fold of a run's history: small, slow and strict. It shares nothing with the engine's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.acceptance.evidence import Story

__all__ = ["FINAL", "Folded", "fold"]

FINAL = frozenset({"succeeded", "failed", "cancelled"})


@dataclass(slots=True)
class Folded:
    """What a history comes to."""

    state: str = "queued"
    started_at: int | None = None
    ended_at: int | None = None
    tasks: dict[str, str] = field(default_factory=dict)
    attempts: dict[str, int] = field(default_factory=dict)
    #: (task, attempt) → time of the record that allows it.
    started: dict[tuple[str, int], int] = field(default_factory=dict)
    #: Task → (attempt, time of its success).
    succeeded: dict[str, tuple[int, int]] = field(default_factory=dict)
    #: (task, attempt) → not before.
    due: dict[tuple[str, int], int] = field(default_factory=dict)
    results: dict[str, Any] = field(default_factory=dict)
    cancelling: bool = False
    recoveries: int = 0
    problems: list[str] = field(default_factory=list)


def fold(graph: Mapping[str, Sequence[str]], story: Story) -> Folded:
    """The state that `story` leads to, for tasks that wait for others as `graph` says."""
    folded = Folded(tasks=dict.fromkeys(graph, "waiting"), attempts=dict.fromkeys(graph, 0))
    for place, row in enumerate(story):
        if row.sequence != place:
            folded.problems.append(f"row {row.sequence} stands at place {place}")
        if place and row.at < story[place - 1].at:
            folded.problems.append(f"row {row.sequence} is older than the one before it")
        for name, *values in row.records:
            if folded.state in FINAL:
                folded.problems.append(f"{name} after the end")
            elif name in _RUN_RECORDS:
                _apply_to_run(folded, graph, name, values, row.at)
            elif values[0] not in graph:
                folded.problems.append(f"{name} of unknown task {values[0]}")
            else:
                _apply_to_task(folded, graph, name, values, row.at)
    return folded


_RUN_RECORDS = frozenset({"run_started", "run_recovered", "cancel_requested", "run_ended"})


def _apply_to_run(
    folded: Folded, graph: Mapping[str, Sequence[str]], name: str, values: Sequence[Any], at: int
) -> None:
    match name:
        case "run_started":
            _expect(folded, folded.state == "queued", "a run started twice")
            folded.state, folded.started_at = "running", at
        case "run_recovered":
            _expect(folded, "running" in folded.tasks.values(), "recovered without a running task")
            folded.recoveries += 1
        case "cancel_requested":
            folded.cancelling = True
            for task, state in folded.tasks.items():
                if state in ("waiting", "retrying"):
                    folded.tasks[task] = "cancelled"
        case "run_ended":
            if not values[1]:  # with a reason it may end whatever its tasks do
                _expect(
                    folded, values[0] == _outcome(folded, graph), f"ended {values[0]} with {folded.tasks}"
                )
            folded.state, folded.ended_at = values[0], at


def _apply_to_task(
    folded: Folded, graph: Mapping[str, Sequence[str]], name: str, values: Sequence[Any], at: int
) -> None:
    task, attempt = values[0], values[1]
    now = folded.tasks[task]
    if name == "task_started":
        above = all(folded.tasks[each] == "succeeded" for each in graph[task])
        _expect(folded, folded.state == "running", f"{task} started in a run that is {folded.state}")
        _expect(folded, above, f"{task} started before what it waits for")
        _expect(folded, now in ("waiting", "retrying"), f"{task} started while {now}")
        _expect(folded, attempt == folded.attempts[task] + 1, f"{task} skipped to attempt {attempt}")
        folded.tasks[task], folded.attempts[task] = "running", attempt
        folded.started[task, attempt] = at
        return
    _expect(folded, now == "running", f"{name} of {task}, which is {now}")
    _expect(folded, attempt == folded.attempts[task], f"{name} of {task} for attempt {attempt}")
    match name:
        case "task_succeeded":
            folded.tasks[task] = "succeeded"
            folded.succeeded[task] = (attempt, at)
            folded.results[task] = values[2]
        case "task_retrying":
            folded.tasks[task] = "retrying"
            folded.due[task, attempt + 1] = values[3]
        case "task_lost":
            folded.tasks[task] = "waiting"
        case "task_failed":
            folded.tasks[task] = "failed"
        case "task_cancelled":
            folded.tasks[task] = "cancelled"
        case _:
            folded.problems.append(f"unknown record {name}")


def _outcome(folded: Folded, graph: Mapping[str, Sequence[str]]) -> str | None:
    """How a run with these tasks ends; None while something of it runs or can still run."""
    states = set(folded.tasks.values())
    can_run = any(
        state == "waiting" and all(folded.tasks[above] == "succeeded" for above in graph[task])
        for task, state in folded.tasks.items()
    )
    if can_run or states & {"running", "retrying"}:
        return None
    if "failed" in states:
        return "failed"
    if folded.cancelling and "cancelled" in states:
        return "cancelled"
    return "succeeded" if states == {"succeeded"} else None


def _expect(folded: Folded, holds: bool, problem: str) -> None:
    if not holds:
        folded.problems.append(problem)
