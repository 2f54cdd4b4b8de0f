"""`/api/v1/dags`: what the project defines, and asking for a run by hand.

A run by hand goes the way of every other run: an event in the log, routed to its DAG. Nothing starts here.
"""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, ConfigDict, Field

from tidemill.api import manual
from tidemill.api.bodies import read_body, schema_of
from tidemill.api.parts import GivenParts
from tidemill.api.run_bodies import RunBody
from tidemill.dag.definition import Dag, Schedule, TaskNode
from tidemill.dag.picture.drawing import kind_of, note_of
from tidemill.errors import NotFound
from tidemill.project.model import Project

__all__ = ["router"]

router = APIRouter(prefix="/api/v1/dags", tags=["dags"])

DagIdPath = Annotated[str, Path(max_length=256, description="Id of the DAG.")]


class ScheduleBody(BaseModel):
    """When the clock starts the DAG."""

    cron: str | None
    interval_seconds: float | None
    at: str | None = Field(None, description="One moment, in place of cron and interval.")
    start_date: str | None
    end_date: str | None
    catchup: bool
    timezone: str
    misfire: str = Field("one", description="What becomes of missed ticks: skip, one or all.")
    jitter_seconds: float = 0.0


class DagBody(BaseModel):
    """A DAG in short."""

    id: str
    version: str
    description: str
    tags: list[str]
    file: str
    line: int
    schedule: ScheduleBody | None
    max_active_runs: int
    runs: dict[str, int] = Field(description="Number of runs by state.")


class DagList(BaseModel):
    """Every DAG of the project, by id."""

    items: list[DagBody]


class RetryBody(BaseModel):
    """When a failed attempt is tried again."""

    max_attempts: int
    delay_seconds: float
    backoff: float
    max_delay_seconds: float
    jitter: float


class TaskNodeBody(BaseModel):
    """One task of the DAG."""

    id: str
    kind: str = Field(description="task, branch, short_circuit, map, wait, teardown or callback.")
    rule: str = Field(description="What its upstream must have come to before it starts.")
    executor: str
    note: str = Field(description="What is not plain about it, in words.")
    upstream: list[str]
    retry: RetryBody
    timeout_seconds: float | None


class EdgeBody(BaseModel):
    """`downstream` waits for `upstream`; `graph` says what of it counts."""

    upstream: str
    downstream: str


class DagView(DagBody):
    """A DAG with its graph."""

    tasks: list[TaskNodeBody] = Field(description="In topological order.")
    edges: list[EdgeBody]
    parameters: dict[str, Any] = Field(description="JSON Schema of the parameters.")
    max_active_tasks: int | None
    triggers: list[str] = Field(description="Names of the triggers that start it.")


class RunAsked(BaseModel):
    """A run asked for by hand."""

    model_config = ConfigDict(extra="forbid", strict=True)

    parameters: dict[str, Any] = Field(default_factory=dict, description="Parameters of the DAG.")
    id: str | None = Field(
        None,
        min_length=1,
        max_length=256,
        pattern="^[ -~]+$",
        description="Asking again with the same id answers with the same run instead of starting another.",
    )


@router.get("", summary="List DAGs")
async def list_dags(parts: GivenParts) -> DagList:
    """Every DAG that the project defines, with how many runs it has in each state."""
    counts = await parts.store.runs.counts()
    dags = parts.project().dags
    return DagList(items=[DagBody(**_members(dags[dag_id], counts)) for dag_id in sorted(dags)])


@router.get("/{dag_id}", summary="Show a DAG")
async def show_dag(parts: GivenParts, dag_id: DagIdPath) -> DagView:
    """A DAG with its tasks, edges, schedule, parameters and triggers."""
    project = parts.project()
    dag = _get(project, dag_id)
    names = [node.task_id for node in dag.tasks]
    return DagView(
        **_members(dag, await parts.store.runs.counts()),
        tasks=[_task(node, names) for node in dag.tasks],
        edges=[
            EdgeBody(upstream=node.task_id, downstream=names[below])
            for node in dag.tasks
            for below in node.downstream
        ],
        parameters=dag.parameters.json_schema(),
        max_active_tasks=dag.max_active_tasks,
        triggers=[trigger.name for trigger in project.triggers if trigger.dag == dag_id],
    )


@router.post(
    "/{dag_id}/runs",
    status_code=202,
    summary="Start a run",
    openapi_extra={"requestBody": schema_of(RunAsked)},
)
async def start_run(parts: GivenParts, dag_id: DagIdPath, request: Request) -> RunBody:
    """Ask for a run with parameters; durable when answered. 422 names every parameter that does not fit."""
    dag = _get(parts.project(), dag_id)
    asked = await read_body(request, RunAsked)
    return await manual.start(parts, dag, parameters=asked.parameters, key=asked.id)


def _get(project: Project, dag_id: str) -> Dag:
    dag = project.dags.get(dag_id)
    if dag is None:
        raise NotFound("dag", dag_id)
    return dag


def _members(dag: Dag, counts: dict[tuple[str, str], int]) -> dict[str, Any]:
    runs: Counter[str] = Counter()
    for (dag_id, state), count in counts.items():
        if dag_id == dag.dag_id:
            runs[state] += count
    return {
        "id": dag.dag_id,
        "version": dag.version,
        "description": dag.description,
        "tags": list(dag.tags),
        "file": dag.file,
        "line": dag.line,
        "schedule": None if dag.schedule is None else _schedule(dag.schedule),
        "max_active_runs": dag.max_active_runs,
        "runs": dict(runs),
    }


def _schedule(schedule: Schedule) -> ScheduleBody:
    return ScheduleBody(
        cron=schedule.cron,
        interval_seconds=None if schedule.interval is None else schedule.interval.total_seconds(),
        start_date=None if schedule.start_date is None else schedule.start_date.isoformat(),
        end_date=None if schedule.end_date is None else schedule.end_date.isoformat(),
        catchup=schedule.catchup,
        timezone=schedule.timezone,
        at=None if schedule.at is None else schedule.at.isoformat(),
        misfire=schedule.policy,
        jitter_seconds=schedule.jitter.total_seconds(),
    )


def _task(node: TaskNode, names: list[str]) -> TaskNodeBody:
    retry = node.retry
    return TaskNodeBody(
        id=node.task_id,
        kind=kind_of(node),
        rule=node.rule.value,
        executor=node.executor,
        note=note_of(node),
        upstream=[names[above] for above in node.upstream],
        retry=RetryBody(
            max_attempts=retry.max_attempts,
            delay_seconds=retry.delay.total_seconds(),
            backoff=retry.backoff,
            max_delay_seconds=retry.max_delay.total_seconds(),
            jitter=retry.jitter,
        ),
        timeout_seconds=None if node.timeout is None else node.timeout.total_seconds(),
    )
