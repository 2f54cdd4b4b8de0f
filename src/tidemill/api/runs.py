"""`/api/v1/runs`: runs, newest first, each with its tasks, and asking the engine to cancel or retry one."""

from __future__ import annotations

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from tidemill.api import manual
from tidemill.api.pages import Limit, Position
from tidemill.api.parts import GivenParts, Parts
from tidemill.api.progress import ProgressBody, progress_of
from tidemill.api.run_bodies import RunBody, body_of, shown_time
from tidemill.dag.wait_spec import WaitKind
from tidemill.errors import NotFound, StateConflict
from tidemill.events.lifecycle import Type
from tidemill.runs.causes import root_causes
from tidemill.runs.rerun import Plan
from tidemill.runs.reuse import How
from tidemill.runs.state import FINAL_RUN_STATES, RunPhase, TaskState
from tidemill.runs.view import TaskView, decode_graph, reason_of, task_views
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


class ReusedBody(BaseModel):
    """How a task came by its result without being called."""

    how: How
    run: str | None = Field(description="The run that the result is from.")
    by: str | None = Field(None, description="Who edited it.")


class RerunBody(BaseModel):
    """What this run makes again."""

    model_config = ConfigDict(populate_by_name=True)

    run: str = Field(description="The run that is made again.")
    from_tasks: list[str] = Field(alias="from")
    only: list[str]
    failed: bool
    with_downstream: bool
    edited: list[str] = Field(description="Tasks whose results were edited.")
    parameters: list[str] = Field(description="Parameters that are others than that run's.")
    by: str


class ParentBody(BaseModel):
    """The run and the task that wait for a run."""

    run: str
    task: str


class WaitBody(BaseModel):
    """What a task waits for."""

    kind: WaitKind
    due_at: str | None = Field(description="When its time is up; null: never.")
    pattern: str | None = Field(None, description="Name of the pattern, of a wait for an event.")
    match: dict[str, Any] | None = Field(None, description="Values that the event must have.")
    approval: str | None = Field(None, description="Id of the approval, of a wait for one.")
    title: str | None = None
    assignees: list[str] | None = None
    run: str | None = Field(None, description="Id of the run, of a wait for the end of one.")
    dag: str | None = Field(None, description="Its DAG.")


class TaskBody(BaseModel):
    """One task of a run."""

    id: str
    state: TaskState
    attempts: int = Field(description="Attempts begun so far.")
    started_at: str | None
    ended_at: str | None
    error: TaskErrorBody | None
    result: Any = Field(
        None,
        description="What the task returned, once it succeeded; `$claim` with size and hash where it is kept "
        "elsewhere.",
    )
    reused: ReusedBody | None = Field(
        None, description="Where the result is from when the task was not called."
    )
    wait: WaitBody | None = Field(None, description="What it waits for, while it waits.")
    because: list[str] = Field(
        default_factory=list,
        description="Tasks at the root of it when this one was skipped or could not start: they failed, were skipped, "
        "or chose otherwise.",
    )


class RunView(RunBody):
    """A run with its tasks."""

    progress: ProgressBody
    reason: str | None = Field(
        None, description="Why the run failed when that was no task's doing, such as `quarantined: …`."
    )
    parent: ParentBody | None = Field(None, description="The run inside of which it runs.")
    rerun_of: RerunBody | None = Field(None, description="The run that this one makes again, and what of it.")
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
    quarantined: Annotated[
        bool,
        Query(
            description="Only runs that were failed because the process died too often while they were running, and "
            "that nobody has run again."
        ),
    ] = False,
    before: Annotated[str | None, Query(max_length=64, description="Only runs with a smaller id.")] = None,
    limit: Limit = 50,
) -> RunPage:
    """Runs that fulfil every condition given, newest first."""
    where = RunFilter(dag=dag, state=state, trigger=trigger, position=position, quarantined=quarantined)
    found = await parts.store.runs.list(where, before=before, limit=limit)
    return RunPage(
        items=[body_of(run) for run in found],
        next=found[-1].run_id if len(found) == limit else None,
    )


@router.get("/{run_id}", summary="Show a run")
async def show_run(parts: GivenParts, run_id: RunIdPath) -> RunView:
    """A run with the state of each of its tasks."""
    run = await _get(parts, run_id)
    history = await parts.store.runs.history(run_id)
    progress = await progress_of(parts, run, history)
    again = await _rerun(parts, run)
    return RunView(
        **body_of(run).model_dump(),
        progress=progress,
        reason=reason_of(history),
        parent=await _parent(parts, run),
        rerun_of=again,
        tasks=await _tasks(parts, run, history, None if again is None else again.run),
    )


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


async def _parent(parts: Parts, run: RunSummary) -> ParentBody | None:
    if run.trigger != manual.MANUAL:
        return None
    asked = await parts.store.log.get(run.position)
    told = asked.event.data if asked is not None and asked.event.type == Type.DAG_REQUESTED else None
    parent = told.get("parent") if isinstance(told, dict) else None
    if not isinstance(parent, dict):
        return None
    return ParentBody(run=str(parent["run_id"]), task=str(parent["task"]))


async def _get(parts: Parts, run_id: str) -> RunSummary:
    run = await parts.store.runs.get(run_id)
    if run is None:
        raise NotFound("run", run_id)
    return run


async def _rerun(parts: Parts, run: RunSummary) -> RerunBody | None:
    """What the run makes again, as long as the event that asked for it is kept."""
    logged = await parts.store.log.get(run.position) if run.trigger == manual.RETRY else None
    data = None if logged is None else logged.event.data
    if not isinstance(data, dict) or not isinstance(data.get("run_id"), str):
        return None
    plan = Plan.of(data)
    return RerunBody(
        run=data["run_id"],
        from_tasks=list(plan.from_tasks),
        only=list(plan.only),
        failed=plan.failed,
        with_downstream=plan.with_downstream,
        edited=list(plan.edits),
        parameters=list(plan.changed),
        by=plan.by,
    )


async def _tasks(
    parts: Parts, run: RunSummary, history: list[tuple[int, int, bytes]], earlier: str | None
) -> list[TaskBody]:
    """The run's tasks, from its history and the graph of the version that it runs on."""
    kept = await parts.store.runs.version(run.dag, run.version)
    if kept is not None:
        dag = decode_graph(kept[2])
    else:
        loaded = parts.project().dags.get(run.dag)
        if loaded is None or loaded.version != run.version:
            return []
        dag = loaded
    views = task_views(dag, history)
    causes = root_causes(dag, {view.task_id: view for view in views})
    return [_task(view, causes.get(view.task_id, []), earlier) for view in views]


def _task(view: TaskView, because: list[str], earlier: str | None) -> TaskBody:
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
        reused=ReusedBody(how=How(view.reused), run=view.reused_from or earlier, by=view.edited_by or None)
        if view.reused
        else None,
        wait=_wait(view),
        because=because,
    )


def _wait(view: TaskView) -> WaitBody | None:
    if view.wait is None:
        return None
    due_at, detail = view.wait
    told = {
        name: detail.get(name)
        for name in ("pattern", "match", "approval", "title", "assignees", "run", "dag")
    }
    return WaitBody(kind=WaitKind(detail["kind"]), due_at=shown_time(due_at), **told)
