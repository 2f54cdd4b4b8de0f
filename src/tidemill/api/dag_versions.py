"""`/api/v1/dags/{id}/versions`: the kept versions of a DAG, and what there is to know of one."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field

from tidemill.api.parts import GivenParts, Parts
from tidemill.api.run_bodies import shown_time
from tidemill.dag.definition import Dag
from tidemill.dag.description import described
from tidemill.errors import NotFound, TidemillError
from tidemill.project.workflows import load_version
from tidemill.runs.view import decode_graph
from tidemill.storage.contract import KeptVersion

__all__ = ["LIVE", "find_version", "router"]

router = APIRouter(prefix="/api/v1/dags", tags=["dags"])

#: Stands for the version that runs begin with now.
LIVE = "live"

DagIdPath = Annotated[str, Path(max_length=256, description="Id of the DAG.")]


class VersionBody(BaseModel):
    """A version in short."""

    version: str
    file: str
    saved_at: str | None = Field(
        description="When it was first live; null for what was kept before the time was."
    )
    is_live: bool = Field(description="Whether runs begin with it now.")


class VersionList(BaseModel):
    """The versions of a DAG, newest first."""

    items: list[VersionBody]


class EdgeText(BaseModel):
    """How a task waits for another one."""

    upstream: str
    downstream: str
    kind: str
    condition: str


class VersionView(BaseModel):
    """A version of a DAG, to be compared with others."""

    dag: str
    version: str
    options: dict[str, str] = Field(description="What is not the default, as text.")
    parameters: dict[str, str] = Field(description="Type of each parameter, with its default.")
    tasks: dict[str, dict[str, str]] = Field(description="What is not the default of each task, as text.")
    edges: list[EdgeText]
    file: str
    source: str
    modules: dict[str, str] | None = Field(
        description="Texts of the modules beside the file; null where it is not known which they were."
    )
    problem: str = Field(
        "", description="Why the version cannot be loaded any more: then only its graph is told."
    )


@router.get("/{dag_id}/versions", summary="List versions of a DAG")
async def list_versions(parts: GivenParts, dag_id: DagIdPath) -> VersionList:
    """Every version of the DAG whose source is kept, newest first."""
    live = parts.project().dags.get(dag_id)
    kept = await parts.store.runs.versions(dag_id)
    if live is not None and not any(one.version == live.version for one in kept):
        kept = [KeptVersion(live.version, live.file, 0), *kept]
    if not kept:
        raise NotFound("dag", dag_id)
    return VersionList(
        items=[
            VersionBody(
                version=one.version,
                file=one.file,
                saved_at=shown_time(one.saved_at or None),
                is_live=live is not None and one.version == live.version,
            )
            for one in kept
        ]
    )


@router.get("/{dag_id}/versions/{version}", summary="Show a version of a DAG")
async def show_version(
    parts: GivenParts,
    dag_id: DagIdPath,
    version: Annotated[str, Path(max_length=64, description="A version, the beginning of one, or `live`.")],
) -> VersionView:
    """What there is to know of a version, with its texts."""
    dag, problem = await find_version(parts, dag_id, version)
    return VersionView(**described(dag), problem=problem)


async def find_version(parts: Parts, dag_id: str, version: str) -> tuple[Dag, str]:
    """A version by its name, the beginning of it, or `live`; and why it is only its graph, where it is.

    Raises `NotFound`. Executes the version's code where it is not loaded.
    """
    live = parts.project().dags.get(dag_id)
    if live is not None and version in (LIVE, live.version):
        return live, ""
    names = {one.version for one in await parts.store.runs.versions(dag_id)}
    if live is not None:
        names.add(live.version)
    found = [name for name in names if name == version or (len(version) >= 4 and name.startswith(version))]
    if len(found) != 1 and version not in found:
        raise NotFound("version", f"{dag_id}@{version}")
    name = version if version in found else found[0]
    if live is not None and name == live.version:
        return live, ""
    return await _kept(parts, dag_id, name)


async def _kept(parts: Parts, dag_id: str, version: str) -> tuple[Dag, str]:
    kept = await parts.store.runs.version(dag_id, version)
    if kept is None:
        raise NotFound("version", f"{dag_id}@{version}")
    file, source, graph = kept
    modules = await parts.store.runs.modules(dag_id, version)
    facts: dict[str, Any] = {"file": file, "source": source, "modules": modules}
    try:
        dag = await asyncio.to_thread(load_version, dag_id, version, root=parts.project().root, **facts)
    except (TidemillError, ValueError, RecursionError) as error:
        return _only_graph(graph, dag_id, version, facts), str(error)
    return dag, ""


def _only_graph(graph: bytes, dag_id: str, version: str, facts: dict[str, Any]) -> Dag:
    return replace(decode_graph(graph, dag_id=dag_id, version=version), **facts)
