"""`/api/v1/runs`: runs, newest first, each with its tasks, and asking the engine to cancel or retry one."""

from __future__ import annotations

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field

from tidemill.api import manual
from tidemill.api.pages import Limit, Position
from tidemill.api.parts import GivenParts, Parts
from tidemill.api.run_bodies import RunBody, body_of, shown_time
from tidemill.errors import NotFound, StateConflict
from tidemill.runs.state import FINAL_RUN_STATES, RunPhase, TaskState
from tidemill.runs.view import TaskView, decode_graph, task_views
from tidemill.storage.contract import RunFilter, RunSummary

__all__ = ["router"]

router = APIRouter(prefix="/api/v1/runs", tags=["runs"])

RunIdPath = Annotated[str, Path(max_length=64, description="Id of the run.")]


class RunPage(BaseModel):
    """Runs, newest first."""

    items: list[RunBody]
    next: str | None = Field(description="Pass as `before` for the next page; null at the end.")


class TaskErrorBody(BaseModel):
    """What the last failed attempt raised."""

    type: str
    message: str
    traceback: str


class TaskBody(BaseModel):
    """One task of a run."""

    id: str
    state: TaskState
    attempts: int = Field(description="Attempts begun so far.")
    started_at: str | None
    ended_at: str | None
    error: TaskErrorBody | None
    result: Any = Field(None, description="What the task returned, once it succeeded.")


class RunView(RunBody):
    """A run with its tasks."""

    tasks: list[TaskBody]


@router.get("", summary="List runs")
async def list_runs(
    parts: GivenParts,
    dag: Annotated[str | None, Query(description="Only runs of this DAG.")] = None,
    state: Annotated[RunPhase | None, Query(description="Only runs in this state.")] = None,
    trigger: Annotated[str | None, Query(description="Only runs that this trigger started.")] = None,
    position: Annotated[
        Position | None, Query(description="Only runs of the event at this position.")
    ] = None,
    before: Annotated[str | None, Query(max_length=64, description="Only runs with a smaller id.")] = None,
    limit: Limit = 50,
) -> RunPage:
    """Runs that fulfil every condition given, newest first."""
    where = RunFilter(dag=dag, state=state, trigger=trigger, position=position)
    found = await parts.store.runs.list(where, before=before, limit=limit)
    return RunPage(
        items=[body_of(run) for run in found],
        next=found[-1].run_id if len(found) == limit else None,
    )


@router.get("/{run_id}", summary="Show a run")
async def show_run(parts: GivenParts, run_id: RunIdPath) -> RunView:
    """A run with the state of each of its tasks."""
    run = await _get(parts, run_id)
    return RunView(**body_of(run).model_dump(), tasks=await _tasks(parts, run))


@router.post("/{run_id}/cancel", status_code=202, summary="Cancel a run")
async def cancel_run(parts: GivenParts, run_id: RunIdPath) -> RunBody:
    """Ask the engine to cancel a run that has not ended; durable when answered, carried out soon after."""
    run = await _get(parts, run_id)
    if run.state in FINAL_RUN_STATES:
        raise StateConflict(f"the run has ended ({run.state}); only a run that goes on can be cancelled")
    await parts.store.runs.request(run_id, "cancel", "api")
    return body_of(run)


@router.post("/{run_id}/retry", status_code=202, summary="Retry a run")
async def retry_run(parts: GivenParts, run_id: RunIdPath) -> RunBody:
    """Ask for a new run that takes over the results of a failed or cancelled one and does the rest again.

    Answers with the new run; asking again while that one goes on answers with the same.
    """
    run = await _get(parts, run_id)
    if run.state not in (RunPhase.FAILED, RunPhase.CANCELLED):
        raise StateConflict(f"the run is {run.state}; only a failed or cancelled run can be retried")
    return await manual.retry(parts, run)


async def _get(parts: Parts, run_id: str) -> RunSummary:
    run = await parts.store.runs.get(run_id)
    if run is None:
        raise NotFound("run", run_id)
    return run


async def _tasks(parts: Parts, run: RunSummary) -> list[TaskBody]:
    """The run's tasks, from its history and the graph of the version that it runs on."""
    kept = await parts.store.runs.version(run.dag, run.version)
    if kept is not None:
        upstream = decode_graph(kept[2])
    else:
        dag = parts.project().dags.get(run.dag)
        if dag is None or dag.version != run.version:
            return []
        upstream = {node.task_id: [dag.tasks[above].task_id for above in node.upstream] for node in dag.tasks}
    history = await parts.store.runs.history(run.run_id)
    return [_task(view) for view in task_views(upstream, history)]


def _task(view: TaskView) -> TaskBody:
    failure = view.error
    return TaskBody(
        id=view.task_id,
        state=view.state,
        attempts=view.attempts,
        started_at=shown_time(view.started_at),
        ended_at=shown_time(view.ended_at),
        error=None
        if failure is None
        else TaskErrorBody(type=failure.error_type, message=failure.message, traceback=failure.traceback),
        result=None if view.result is None else orjson.loads(view.result),
    )
