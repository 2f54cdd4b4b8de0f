"""What is expected of the tasks of a DAG, out of what was learned and what bounds them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tidemill.dag.definition import Dag
from tidemill.dag.edges import EdgeKind
from tidemill.dag.policy import TriggerRule
from tidemill.runs.durations import DEFAULT_SECONDS, WIDTH, TaskModel, expected_seconds
from tidemill.runs.progress import RunProgress, TaskProgress
from tidemill.runs.what_if import Work

__all__ = ["Outlook", "outlook_of", "width_of", "work_of"]

_ON_FAILURE = frozenset({TriggerRule.ALL_FAILED, TriggerRule.ONE_FAILED, TriggerRule.ALL_SKIPPED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What is expected of the tasks of a DAG, by task."""

    expected: Mapping[str, float]
    #: What nine in ten attempts need at most.
    at_most: Mapping[str, float] = field(default_factory=dict)
    #: Tasks of which something is known; the others are taken for average ones.
    known: frozenset[str] = frozenset()
    #: Task runs that are expected of maps.
    widths: Mapping[str, int] = field(default_factory=dict)
    #: Task runs of one task that can run at once.
    limits: Mapping[str, int] = field(default_factory=dict)
    #: Tasks that run only when something fails.
    exceptional: frozenset[str] = frozenset()


def outlook_of(
    tasks: Sequence[str],
    models: Mapping[str, TaskModel],
    *,
    dag: Dag | None = None,
    slots: Mapping[str, int] | None = None,
    sizes: Mapping[str, float] | None = None,
) -> Outlook:
    """What is expected of these tasks; `slots` by executor and the DAG's own limits bound what runs at once."""
    found = expected_seconds(tasks, models, sizes=sizes)
    given = sizes or {}
    at_most = {
        task: high
        for task in tasks
        if (model := models.get(task)) is not None
        and (high := model.seconds(0.9, size=given.get(task))) is not None
    }
    widths = {
        task: max(0, round(width))
        for task in tasks
        if (model := models.get(task + WIDTH)) is not None and (width := model.seconds()) is not None
    }
    return Outlook(
        expected=dict(zip(tasks, found, strict=True)),
        at_most=at_most,
        known=frozenset(task for task in tasks if task in models),
        widths=widths,
        limits={} if dag is None else _limits(dag, slots or {}),
        exceptional=frozenset() if dag is None else _exceptional(dag),
    )


def width_of(task: TaskProgress, outlook: Outlook) -> int:
    """Task runs of a task: as they are once they are known, as they are expected before."""
    return (
        task.total
        if task.is_map or task.attempts or task.is_done
        else outlook.widths.get(task.task_id, task.total)
    )


def work_of(
    progress: RunProgress, outlook: Outlook, *, limit: int | None = None
) -> tuple[Work, dict[str, int]]:
    """The run as work for `what_if`, tasks by number: as it was where it has ended, else as it is expected."""
    index = {task: place for place, task in enumerate(progress.tasks)}
    durations, copies = list[float](), dict[int, int]()
    for task, place in index.items():
        standing = progress.tasks[task]
        count = width_of(standing, outlook)
        if standing.is_done and standing.done:
            durations.append(_took(standing) / 1e6 / standing.done)
        elif progress.has_ended or (task in outlook.exceptional and not standing.attempts):
            durations.append(0.0)
        else:
            durations.append(outlook.expected.get(task, DEFAULT_SECONDS))
        if count != 1:
            copies[place] = count
    upstream = [[index[one] for one in standing.upstream] for standing in progress.tasks.values()]
    return Work(upstream=upstream, durations=durations, copies=copies, limit=limit), index


def _took(standing: TaskProgress) -> int:
    """Time in attempts, or the wait of a task that has none."""
    if standing.attempts or standing.ended_at is None or standing.started_at is None:
        return standing.working
    return standing.ended_at - standing.started_at


def _limits(dag: Dag, slots: Mapping[str, int]) -> dict[str, int]:
    limits: dict[str, int] = {}
    for node in dag.tasks:
        bounds = (
            slots.get(node.executor),
            dag.max_active_tasks,
            node.policy.max_active,
            node.policy.max_active_per_run,
        )
        given = [bound for bound in bounds if bound is not None]
        if given:
            limits[node.task_id] = max(1, min(given))
    return limits


def _exceptional(dag: Dag) -> frozenset[str]:
    """Tasks that run only when something has failed, and what only follows from them."""
    found = set[int]()
    for node in dag.tasks:
        is_fate = node.fate == "failure" or node.rule in _ON_FAILURE
        waits_for_failure = any(edge.kind is EdgeKind.FAILURE for edge in node.edges.values())
        follows = node.rule is TriggerRule.ALL_SUCCESS and any(one in found for one in node.upstream)
        if is_fate or waits_for_failure or follows:
            found.add(node.index)
    return frozenset(dag.tasks[index].task_id for index in found)
