"""`/api/v1/runs/{id}/migrate`: let a run go on with another version of its DAG, if what it has done fits."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, ConfigDict, Field

from tidemill.api.bodies import read_body, schema_of
from tidemill.api.dag_versions import LIVE, find_version
from tidemill.api.parts import GivenParts, Parts
from tidemill.dag.definition import Dag
from tidemill.errors import NotFound, StateConflict
from tidemill.runs.migration import misfits
from tidemill.runs.state import FINAL_RUN_STATES
from tidemill.storage.contract import RunSummary

__all__ = ["router"]

router = APIRouter(prefix="/api/v1/runs", tags=["runs"])


class MigrationAsked(BaseModel):
    """Where a run is to go on."""

    model_config = ConfigDict(extra="forbid", strict=True)

    to: str = Field(LIVE, max_length=64, description="A version, the beginning of one, or `live`.")
    dry_run: bool = Field(False, description="Only say whether it fits.")


class MigrationBody(BaseModel):
    """Whether a run can go on with another version."""

    id: str
    was: str = Field(description="The version that it is on.")
    version: str = Field(description="The version that it is to go on with.")
    misfits: list[str] = Field(description="Everything that keeps it from that; nothing when it fits.")
    is_asked: bool = Field(description="Whether the engine was asked to move it, which it does soon after.")


@router.post(
    "/{run_id}/migrate",
    status_code=202,
    summary="Migrate a run",
    openapi_extra={"requestBody": schema_of(MigrationAsked)},
)
async def migrate(
    parts: GivenParts,
    run_id: Annotated[str, Path(max_length=64, description="Id of the run.")],
    request: Request,
) -> MigrationBody:
    """Ask the engine to let a run go on with another version; durable when answered.

    409 when what the run has done does not fit that version, naming every reason; with `dry_run` these are the answer.
    The engine checks once more: a run that has gone on meanwhile, to what does not fit, stays on its version.
    """
    asked = await read_body(request, MigrationAsked)
    run = await _get(parts, run_id)
    new, problem = await find_version(parts, run.dag, asked.to)
    if problem:
        raise StateConflict(f"version {new.version} cannot be loaded any more: {problem}")
    found = await _misfits(parts, run, new)
    if found and not asked.dry_run:
        raise StateConflict(f"the run cannot go on with version {new.version}: {'; '.join(found)}")
    if not asked.dry_run:
        await parts.store.runs.request(run_id, f"migrate:{new.version}", "api")
    return MigrationBody(
        id=run_id, was=run.version, version=new.version, misfits=found, is_asked=not asked.dry_run
    )


async def _misfits(parts: Parts, run: RunSummary, new: Dag) -> list[str]:
    if run.version == new.version:
        return [f"the run is on version {new.version} already"]
    if run.state in FINAL_RUN_STATES:
        return [f"the run has ended ({run.state})"]
    old, problem = await find_version(parts, run.dag, run.version)
    if problem:
        return [f"version {run.version} cannot be loaded any more: {problem}"]
    return misfits(old, new, run.parameters, await parts.store.runs.history(run.run_id))


async def _get(parts: Parts, run_id: str) -> RunSummary:
    run = await parts.store.runs.get(run_id)
    if run is None:
        raise NotFound("run", run_id)
    return run
