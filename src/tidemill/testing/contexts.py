"""Tasks as the functions that they are: how a test gets at one, and a made-up `Context` for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import ConfigDict, validate_call

from tidemill.dag.context import Context
from tidemill.project.model import Project
from tidemill.testing.stubs import find_task

__all__ = ["make_context", "task_function"]


def make_context(dag: str = "dag", task: str = "task", **facts: Any) -> Context:
    """The context of an attempt that nobody made: `make_context("orders", "charge", attempt=2)`.

    `facts` are the fields of `Context`; whatever is not given is what a first attempt has.
    """
    run_id = facts.pop("run_id", "run")
    given: dict[str, Any] = {
        "run_id": run_id,
        "dag_id": dag,
        "task_id": task,
        "attempt": 1,
        "idempotency_key": f"{run_id}/{task}",
        **facts,
    }
    return Context(**given)


def task_function(project: Project, task: str) -> Callable[..., Any]:
    """The function of the task `DAG.TASK`, called with JSON values where it takes the user's own types.

    Arguments become what the parameters are annotated with, as they do in a run; a `Context` is given as it is. The
    function of a coroutine task is to be awaited. Raises `StubError` where there is no such task.
    """
    dag_id, task_id = find_task(task, project.dags)
    function = next(node.function for node in project.dags[dag_id].tasks if node.task_id == task_id)
    called: Callable[..., Any] = validate_call(config=ConfigDict(arbitrary_types_allowed=True))(function)
    return called
