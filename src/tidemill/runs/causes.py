"""Why tasks were not called: the tasks at the root of it, told from how each task stands. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from tidemill.dag.definition import Dag, NodeKind
from tidemill.runs.state import TaskState
from tidemill.runs.view import TaskView

__all__ = ["root_causes"]

#: Causes named for one task.
_MOST = 5


def root_causes(dag: Dag, views: Mapping[str, TaskView]) -> dict[str, list[str]]:
    """For tasks that were skipped or could not start: the task runs that failed, were skipped or chose otherwise.

    By task id; up to five each, in the order of the graph. A task that failed or was skipped by itself has no cause but
    its own error.
    """
    roots: dict[str, list[str]] = {}
    found: dict[str, list[str]] = {}
    for node in dag.tasks:
        view = views.get(node.task_id)
        if view is None:
            continue
        match view.state:
            case TaskState.FAILED:
                roots[node.task_id] = [_first_failed(node.task_id, views)]
            case TaskState.UPSTREAM_FAILED | TaskState.SKIPPED if not view.attempts:
                causes: dict[str, None] = {}
                for above in node.upstream:
                    causes.update(dict.fromkeys(_of(dag, above, view.state, roots, views)))
                roots[node.task_id] = found[node.task_id] = list(causes)[:_MOST]
            case TaskState.SKIPPED:
                roots[node.task_id] = [node.task_id]
    return found


def _of(
    dag: Dag, above: int, state: TaskState, roots: Mapping[str, list[str]], views: Mapping[str, TaskView]
) -> list[str]:
    """What of a task above may be why the one below is in `state`."""
    node = dag.tasks[above]
    known = roots.get(node.task_id)
    if known is not None:
        return known or [node.task_id]
    view = views.get(node.task_id)
    is_choice = node.kind not in (NodeKind.TASK, NodeKind.WAIT)
    has_chosen = view is not None and view.state is TaskState.SUCCEEDED and is_choice
    is_conditional = any(above in dag.tasks[below].edges for below in node.downstream)
    return [node.task_id] if state is TaskState.SKIPPED and (has_chosen or is_conditional) else []


def _first_failed(task: str, views: Mapping[str, TaskView]) -> str:
    """The task itself, or the first of its task runs that failed."""
    view = views[task]
    if view.map is not None:
        for place in range(view.map.total):
            one = views.get(f"{task}[{place}]")
            if one is None:
                break
            if one.state is TaskState.FAILED:
                return one.task_id
    return task
