"""`/api/v1/runs/{id}/diff/{other}`: how two runs differ."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Path
from pydantic import BaseModel, Field

from tidemill.api.parts import GivenParts, Parts
from tidemill.api.progress import graph_of
from tidemill.api.run_bodies import RunBody, body_of
from tidemill.errors import NotFound
from tidemill.runs.diff import RunDiff, diff_runs
from tidemill.runs.view import TaskView, task_views
from tidemill.storage.contract import RunSummary

__all__ = ["router"]

router = APIRouter(prefix="/api/v1/runs", tags=["runs"])

RunIdPath = Annotated[str, Path(max_length=64, description="Id of a run.")]


class ParameterDiff(BaseModel):
    """A parameter that is not the same; null where a run was not given it."""

    name: str
    before: Any
    after: Any


class TaskSideBody(BaseModel):
    """A task in one of the runs."""

    state: str
    attempts: int
    seconds: float | None = Field(description="From the first attempt's start to the end.")
    digest: str = Field(description="First digits of the SHA-256 of the result; empty without one.")
    result: Any = Field(None, description="The result, where it is short.")
    error: str


class TaskDiffBody(BaseModel):
    """A task in both runs; null where one does not have it."""

    id: str
    before: TaskSideBody | None
    after: TaskSideBody | None
    differs: list[str] = Field(description="What is not the same: state, attempts, result, error.")


class RunDiffBody(BaseModel):
    """Two runs side by side."""

    before: RunBody
    after: RunBody
    parameters: list[ParameterDiff]
    tasks: list[TaskDiffBody] = Field(description="In the order of the second run's graph.")
    first: str | None = Field(description="First task that came to something else; null when none did.")


@router.get("/{run_id}/diff/{other}", summary="Compare two runs")
async def diff(parts: GivenParts, run_id: RunIdPath, other: RunIdPath) -> RunDiffBody:
    """What two runs were given and what became of their tasks, and where they parted."""
    before, after = await _get(parts, run_id), await _get(parts, other)
    found = diff_runs(
        (_parameters(before), _parameters(after)), (await _tasks(parts, before), await _tasks(parts, after))
    )
    return _body(before, after, found)


async def _get(parts: Parts, run_id: str) -> RunSummary:
    run = await parts.store.runs.get(run_id)
    if run is None:
        raise NotFound("run", run_id)
    return run


def _parameters(run: RunSummary) -> dict[str, Any]:
    made = orjson.loads(run.parameters) if run.parameters else {}
    return made if isinstance(made, dict) else {}


async def _tasks(parts: Parts, run: RunSummary) -> list[TaskView]:
    history = await parts.store.runs.history(run.run_id)
    return task_views(await graph_of(parts, run), history)


def _body(before: RunSummary, after: RunSummary, found: RunDiff) -> RunDiffBody:
    return RunDiffBody(
        before=body_of(before),
        after=body_of(after),
        parameters=[
            ParameterDiff(name=name, before=was, after=now) for name, (was, now) in found.parameters.items()
        ],
        tasks=[
            TaskDiffBody(
                id=one.task_id,
                before=None if one.before is None else TaskSideBody(**asdict(one.before)),
                after=None if one.after is None else TaskSideBody(**asdict(one.after)),
                differs=list(one.differs),
            )
            for one in found.tasks
        ],
        first=found.first,
    )
