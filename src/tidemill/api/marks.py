"""`/api/v1/runs/ID/mark`: let pass what depends on a run whose tasks will never succeed."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, ConfigDict, Field

from tidemill.api.bodies import read_body, schema_of
from tidemill.api.parts import GivenParts
from tidemill.api.problems import Invalid
from tidemill.errors import NotFound, StateConflict
from tidemill.runs.graph_text import decode_graph
from tidemill.storage.places import place_of

__all__ = ["router"]

router = APIRouter(prefix="/api/v1", tags=["runs"])


class Marking(BaseModel):
    """Which tasks of the run count as done for the runs after it."""

    model_config = ConfigDict(extra="forbid")

    tasks: list[str] = Field([], max_length=1000, description="Task ids; all of the run's tasks without any.")


class Marked(BaseModel):
    """What was let pass."""

    run_id: str
    tasks: list[str]


@router.post(
    "/runs/{run_id}/mark", summary="Mark a run's tasks", openapi_extra={"requestBody": schema_of(Marking)}
)
async def mark_run(
    parts: GivenParts, run_id: Annotated[str, Path(max_length=100)], request: Request
) -> Marked:
    """Let the next run go on where its tasks depend on this one's (`depends_on_past`); durable when answered.

    The run itself stays what it is. 409 while it has not ended: what it comes to decides.
    """
    asked = await read_body(request, Marking)
    run = await parts.store.runs.get(run_id)
    if run is None:
        raise NotFound("run", run_id)
    if run.ended_at is None:
        raise StateConflict("the run has not ended; what its tasks come to decides")
    version = await parts.store.runs.version(run.dag, run.version)
    known = [] if version is None else [task.task_id for task in decode_graph(version[2]).tasks]
    unknown = sorted(set(asked.tasks) - set(known))
    if unknown and known:
        raise Invalid("invalid_request", f"the run has no task {', '.join(unknown)}", [])
    tasks = asked.tasks or known
    await parts.store.pasts.mark(run.dag, await place_of(parts.store, run), tasks)
    return Marked(run_id=run_id, tasks=tasks)
