"""`POST /api/v1/runs/{id}/reruns`: a run made again, whole or in part, with other parameters or edited results.

Everything is checked here against the version that the new run will have, and then goes through the log like every
run: one event says what was asked, by whom, and of which run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from tidemill.api import manual
from tidemill.api.bodies import read_body, schema_of
from tidemill.api.parts import GivenParts, Parts
from tidemill.api.problems import Invalid
from tidemill.api.run_bodies import RunBody
from tidemill.api.runs import RunIdPath
from tidemill.dag.definition import Dag, NodeKind
from tidemill.errors import DefinitionError, NotFound, StateConflict
from tidemill.events import lifecycle
from tidemill.ids import new_id
from tidemill.project.workflows import load_version
from tidemill.runs.maps import place_in_name
from tidemill.runs.rerun import Plan, node_of
from tidemill.runs.state import FINAL_RUN_STATES, TaskState
from tidemill.runs.unfold import branch_problem
from tidemill.runs.view import task_views
from tidemill.storage.contract import RunSummary

__all__ = ["router"]

router = APIRouter(prefix="/api/v1/runs", tags=["runs"])

TaskName = Annotated[str, StringConstraints(min_length=1, max_length=300, pattern=r"^[A-Za-z0-9_.\[\]-]+$")]
Printable = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
Names = Annotated[list[TaskName], Field(max_length=1000)]


class RerunAsked(BaseModel):
    """What of a run is made again; without anything all of it."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    from_tasks: Names = Field([], alias="from", description="These tasks and everything below them.")
    only: Names = Field([], description="These tasks, and nothing else that has a result.")
    failed: bool = Field(False, description="What did not succeed.")
    with_downstream: bool = Field(False, description="Everything below `only` or what failed, too.")
    parameters: dict[str, Any] = Field(
        default_factory=dict,
        alias="set",
        description="Parameters in place of the run's; then nothing is carried over but what was asked for.",
    )
    edit: Annotated[dict[TaskName, Any], Field(max_length=100)] = Field(
        default_factory=dict,
        description="Results in place of the run's, by task; what is below is made again.",
    )
    on_version: Literal["recorded", "current"] = Field(
        "recorded",
        description="The version of the DAG that the run began with, or the one that is loaded now.",
    )
    request_id: Printable | None = Field(
        None, description="Asking again with the same one gives the same run."
    )
    by: Printable = Field("api", description="Who asks, for the record.")


@router.post(
    "/{run_id}/reruns",
    status_code=202,
    summary="Run again",
    openapi_extra={"requestBody": schema_of(RerunAsked)},
)
async def rerun(parts: GivenParts, run_id: RunIdPath, request: Request) -> RunBody:
    """Ask for a new run that makes an ended one again; durable when answered.

    422 names everything that does not fit: tasks that the version does not have, parameters, edited results.
    """
    asked = await read_body(request, RerunAsked)
    run = await parts.store.runs.get(run_id)
    if run is None:
        raise NotFound("run", run_id)
    if run.state not in FINAL_RUN_STATES:
        raise StateConflict(f"the run is {run.state}; only a run that has ended can be made again")
    dag = await _dag(parts, run, asked.on_version)
    _refuse(list(_problems(asked, dag, parts.settings.max_result_bytes)))
    given = orjson.loads(run.parameters) | asked.parameters
    parameters = manual.check(dag, given)
    event = lifecycle.retry_requested(
        dag=run.dag,
        run_id=run.run_id,
        parameters=orjson.loads(orjson.dumps(parameters)),
        id=f"{run.run_id}/rerun/{asked.request_id or new_id()}",
        by=asked.by,
        rerun=(await _plan(parts, asked, run, dag)).as_json(),
        # The current version is whatever it is when the request is routed.
        version=run.version if asked.on_version == "recorded" else None,
    )
    logged = await manual.append(parts, event)
    return await manual.answer(parts, logged, trigger=manual.RETRY, dag=dag, parameters=parameters)


async def _dag(parts: Parts, run: RunSummary, which: str) -> Dag:
    """The version that the new run will have."""
    current = parts.project().dags.get(run.dag)
    if current is None:
        raise StateConflict("the project no longer has the run's dag")
    if which == "current" or current.version == run.version:
        return current
    kept = await parts.store.runs.version(run.dag, run.version)
    if kept is None:
        raise StateConflict("the version that the run began with is not kept; ask with on_version=current")
    file, source, _ = kept
    modules = await parts.store.runs.modules(run.dag, run.version)
    try:
        return load_version(
            run.dag, run.version, file=file, source=source, modules=modules, root=parts.project().root
        )
    except DefinitionError as error:
        raise StateConflict(
            f"the version that the run began with cannot be loaded any more ({error}); ask with on_version=current"
        ) from error


def _problems(asked: RerunAsked, dag: Dag, max_bytes: int) -> Iterator[tuple[str, str]]:
    named = [("from", asked.from_tasks), ("only", asked.only), ("edit", list(asked.edit))]
    for place, names in named:
        for name in names:
            reason = _unknown(name, dag)
            if reason is not None:
                yield f"{place}.{name}", reason
    for name in sorted(asked.edit.keys() & {*asked.from_tasks, *asked.only}):
        yield f"edit.{name}", "the task is to be called again, and has no result to edit then"
    if asked.with_downstream and not (asked.only or asked.failed):
        yield "with_downstream", "it goes with only or failed; from has everything below in any case"
    for name, value in asked.edit.items():
        text = orjson.dumps(value)
        if len(text) > max_bytes:
            yield f"edit.{name}", f"the result has {len(text)} bytes and max_result_bytes is {max_bytes}"
        node = None if _unknown(name, dag) else dag.tasks[dag.index[node_of(name)]]
        if node is not None and node.kind is NodeKind.BRANCH:
            below = [dag.tasks[index].task_id for index in node.downstream]
            if (problem := branch_problem(node, text, below)) is not None:
                yield f"edit.{name}", problem
        if node is not None and node.mapped is not None and name == node.task_id:
            yield f"edit.{name}", "the task is mapped; edit its task runs, such as " + f"{name}[0]"


def _unknown(name: str, dag: Dag) -> str | None:
    index = dag.index.get(node_of(name))
    if index is None:
        return "the dag has no such task in this version"
    if name == node_of(name):
        return None
    return None if dag.tasks[index].mapped and place_in_name(name) else "the task has no such task run"


def _refuse(problems: list[tuple[str, str]]) -> None:
    if problems:
        listed: list[Mapping[str, object]] = [{"location": name, "detail": text} for name, text in problems]
        raise Invalid("invalid_request", "the run cannot be made again so", listed)


async def _plan(parts: Parts, asked: RerunAsked, run: RunSummary, dag: Dag) -> Plan:
    from_tasks = list(asked.from_tasks)
    if asked.failed and asked.with_downstream:
        views = task_views(dag, await parts.store.runs.history(run.run_id))
        from_tasks += [view.task_id for view in views if view.state in _UNSUCCESSFUL and view.map is None]
    earlier = orjson.loads(run.parameters)
    changed = [name for name, value in asked.parameters.items() if earlier.get(name) != value]
    return Plan(
        from_tasks=from_tasks,
        only=asked.only,
        failed=asked.failed,
        with_downstream=asked.with_downstream,
        edits=asked.edit,
        changed=changed,
        by=asked.by,
    )


_UNSUCCESSFUL = frozenset({TaskState.FAILED, TaskState.CANCELLED})
