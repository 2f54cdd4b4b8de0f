"""`/api/v1/dags/{id}/graph`: a DAG as a picture, also with the states of one of its runs."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from tidemill.api.dag_versions import LIVE, DagIdPath, find_version
from tidemill.api.parts import GivenParts, Parts
from tidemill.api.progress import graph_of
from tidemill.dag.picture import Drawing, dot, drawing_of, mermaid, svg
from tidemill.errors import NotFound
from tidemill.runs.view import TaskView, task_views

__all__ = ["router"]

router = APIRouter(prefix="/api/v1/dags", tags=["dags"])


class PictureForm(StrEnum):
    """What the picture is made of."""

    JSON = "json"
    SVG = "svg"
    MERMAID = "mermaid"
    DOT = "dot"


class GraphNode(BaseModel):
    """One task."""

    id: str
    kind: str = Field(description="task, branch, short_circuit, map, wait, teardown or callback.")
    note: str = Field(description="What is not plain about it, in words; of a map how far it is.")
    state: str = Field(description="State of its task run; empty where no run is asked for.")


class GraphEdge(BaseModel):
    """`downstream` waits for `upstream`."""

    upstream: str
    downstream: str
    kind: str = Field(
        description="What of the upstream task counts: success, completion, failure or condition."
    )
    condition: str


class GraphBody(BaseModel):
    """A graph to be drawn."""

    dag: str
    version: str
    run: str | None
    title: str
    nodes: list[GraphNode] = Field(description="In topological order.")
    edges: list[GraphEdge]


_WRITERS = {
    PictureForm.SVG: (svg, "image/svg+xml"),
    PictureForm.MERMAID: (mermaid, "text/plain; charset=utf-8"),
    PictureForm.DOT: (dot, "text/vnd.graphviz; charset=utf-8"),
}
_CONTENT: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The graph.",
        "content": {
            "image/svg+xml": {"schema": {"type": "string"}},
            "text/plain": {"schema": {"type": "string"}},
            "text/vnd.graphviz": {"schema": {"type": "string"}},
        },
    }
}


@router.get("/{dag_id}/graph", summary="Draw a DAG", response_model=GraphBody, responses=_CONTENT)
async def draw(
    parts: GivenParts,
    dag_id: DagIdPath,
    form: Annotated[
        PictureForm, Query(alias="format", description="json, svg, mermaid or dot.")
    ] = PictureForm.JSON,
    version: Annotated[
        str, Query(max_length=64, description="A version, the beginning of one, or `live`.")
    ] = LIVE,
    run: Annotated[
        str | None, Query(max_length=64, description="A run whose version and states are shown.")
    ] = None,
) -> Any:
    """The tasks of a DAG and how they wait for each other; the same graph is the same picture, byte for byte."""
    if run is None:
        dag, _ = await find_version(parts, dag_id, version)
        drawing = drawing_of(dag)
        shown = dag.version
    else:
        drawing, shown = await _drawing_of_run(parts, dag_id, run)
    if form is PictureForm.JSON:
        return _body(drawing, dag_id, shown, run)
    write, media_type = _WRITERS[form]
    return Response(write(drawing), media_type=media_type)


async def _drawing_of_run(parts: Parts, dag_id: str, run_id: str) -> tuple[Drawing, str]:
    run = await parts.store.runs.get(run_id)
    if run is None or run.dag != dag_id:
        raise NotFound("run", run_id)
    dag = await graph_of(parts, run)
    views = {view.task_id: view for view in task_views(dag, await parts.store.runs.history(run_id))}
    states = {name: view.state.value for name, view in views.items()}
    title = f"{dag_id}: run {run_id} ({run.state})"
    return drawing_of(dag, states=states, counts=_counts(views), title=title), run.version


def _counts(views: Mapping[str, TaskView]) -> dict[str, str]:
    """How far maps are."""
    return {name: f"{view.map.done}/{view.map.total}" for name, view in views.items() if view.map is not None}


def _body(drawing: Drawing, dag_id: str, version: str, run: str | None) -> GraphBody:
    names = [node.name for node in drawing.nodes]
    return GraphBody(
        dag=dag_id,
        version=version,
        run=run,
        title=drawing.title,
        nodes=[
            GraphNode(id=node.name, kind=node.kind, note=node.note, state=node.state)
            for node in drawing.nodes
        ],
        edges=[
            GraphEdge(
                upstream=names[line.above],
                downstream=names[line.below],
                kind=line.kind.value,
                condition=line.label,
            )
            for line in drawing.lines
        ],
    )
