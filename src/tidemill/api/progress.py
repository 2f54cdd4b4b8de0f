"""`/api/v1/runs/{id}/progress`: how far a run is, as server-sent events; and the same for whoever shows a run.

1. `id:` is the number of the last decision that is counted; a client that reconnects sends it as `Last-Event-ID` and is
   told of what came since. Once it has been told of the run's end it is answered with 204, so that it stays away.
2. A frame tells the whole: one that was missed is missed by nobody. There are at most two in a second.
3. A client costs a read of the rows that are new, and memory for the tasks of the DAG; see `tidemill.runs.progress`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from dataclasses import asdict
from typing import Annotated

import orjson
from fastapi import APIRouter, Header, Path
from pydantic import BaseModel, Field
from starlette.responses import Response, StreamingResponse

from tidemill.api.pages import MAX_POSITION
from tidemill.api.parts import GivenParts, Parts
from tidemill.api.stream import PING_SECONDS, EventStream
from tidemill.clock import rfc3339
from tidemill.dag.definition import Dag
from tidemill.errors import NotFound, Overloaded, StorageError
from tidemill.runs.analysis import analyse
from tidemill.runs.durations import TaskModel
from tidemill.runs.outlook import Outlook, outlook_of
from tidemill.runs.progress import RunProgress
from tidemill.runs.view import decode_graph
from tidemill.settings import Settings
from tidemill.storage.contract import RunSummary

__all__ = [
    "ProgressBody",
    "follow_progress",
    "graph_of",
    "models_of",
    "progress_body",
    "progress_of",
    "router",
    "slots_of",
]

#: Between two looks at a run, in seconds.
EVERY_SECONDS = 0.5
#: Rows that are folded before others have their turn.
_PAGE = 500
#: Maps that a frame tells of.
_MAPS = 50
#: Clients that follow runs at once.
_FOLLOWERS = 256
#: What is known of durations is read anew after so many looks.
_LOOKS = 20

router = APIRouter(prefix="/api/v1/runs", tags=["runs"])


class MapProgressBody(BaseModel):
    """How far the task runs of a mapped task are."""

    task: str
    total: int
    done: int
    succeeded: int
    failed: int
    not_run: int
    running: int
    waiting: int


class ProgressBody(BaseModel):
    """How far a run is. Tasks that do not run because of others are counted as done when the run has ended."""

    total: int = Field(description="Task runs; a mapped task counts as one until its items are known.")
    done: int
    succeeded: int
    failed: int
    not_run: int = Field(description="Skipped, cancelled, or out of reach because of another task.")
    running: int
    waiting: int = Field(description="Waits for an event, a time or an approval.")
    maps: list[MapProgressBody] = Field(description="Mapped tasks whose items are known, the first 50.")
    remaining_seconds: float | None = Field(
        description="Expected time to the end, by what was learned of the tasks; null before the start and at the end."
    )
    ends_at: str | None = Field(description="RFC 3339: the expected end, and the end once it has come.")


class ProgressFrame(ProgressBody):
    """What the stream tells."""

    run: str
    state: str


@router.get(
    "/{run_id}/progress",
    summary="Follow a run's progress",
    response_class=StreamingResponse,
    responses={
        200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}},
        204: {"description": "The run has ended, and the client was told."},
    },
)
async def stream_progress(
    parts: GivenParts,
    run_id: Annotated[str, Path(max_length=64, description="Id of the run.")],
    last_event_id: Annotated[int | None, Header(ge=0, le=MAX_POSITION)] = None,
) -> Response:
    """How far the run is, whenever that has changed: events `progress`, and `end` as the last one."""
    run = await parts.store.runs.get(run_id)
    if run is None:
        raise NotFound("run", run_id)
    if len(parts.followers) >= _FOLLOWERS:
        raise Overloaded("rate_limited", f"{_FOLLOWERS} clients follow runs already", retry_after=5)
    told = -1 if last_event_id is None else last_event_id
    if (
        told >= 0
        and run.ended_at is not None
        and not await parts.store.runs.history_after(run_id, told, limit=1)
    ):
        return Response(status_code=204)
    return EventStream(follow_progress(parts, run, after=told), parts)


async def follow_progress(
    parts: Parts, run: RunSummary, *, after: int, every_seconds: float = EVERY_SECONDS
) -> AsyncGenerator[bytes, None]:
    """Frames of what changed after the decision `after`; ends with the run, or when the store fails."""
    token = object()
    parts.followers.add(token)
    try:
        dag = await graph_of(parts, run)
        progress, outlook = RunProgress(dag), Outlook(expected={})
        told, silent, looks = after, 0.0, 0
        is_first = after < 0
        yield b"retry: 1000\n\n"
        while True:
            while progress.follow(
                rows := await parts.store.runs.history_after(run.run_id, progress.sequence, limit=_PAGE)
            ):
                if len(rows) < _PAGE:
                    break
                await asyncio.sleep(0)
            if not looks % _LOOKS:
                outlook = _outlook(parts, dag, await models_of(parts, run.dag))
            looks += 1
            if progress.sequence > told or is_first:
                told, silent, is_first = progress.sequence, 0.0, False
                yield _frame(run, progress, progress_body(parts, progress, outlook))
            elif silent >= PING_SECONDS:
                silent = 0.0
                yield b": ping\n\n"
            if progress.has_ended:
                return
            silent += every_seconds
            await asyncio.sleep(every_seconds)
    except StorageError:
        return  # the client reconnects and is told what it has missed
    finally:
        parts.followers.discard(token)


def progress_body(parts: Parts, progress: RunProgress, outlook: Outlook) -> ProgressBody:
    """How far a run is, with its expected end while it goes on."""
    remaining, ends_at = None, progress.ended_at
    if progress.started_at is not None and not progress.has_ended:
        now = parts.clock.now_us()
        remaining = analyse(progress, outlook, now=now).remaining
        ends_at = None if remaining is None else now + round(remaining * 1_000_000)
    return ProgressBody(
        **asdict(progress.counts()),
        maps=[
            MapProgressBody(task=task.task_id, **asdict(progress.counts(task)))
            for task in progress.maps()[:_MAPS]
        ],
        remaining_seconds=None if remaining is None else round(remaining, 3),
        ends_at=None if ends_at is None else rfc3339(ends_at),
    )


async def progress_of(parts: Parts, run: RunSummary, history: list[tuple[int, int, bytes]]) -> ProgressBody:
    """How far a run is whose history was read."""
    dag = await graph_of(parts, run)
    progress = RunProgress(dag)
    progress.follow(history)
    models = {} if progress.has_ended else await models_of(parts, run.dag)
    return progress_body(parts, progress, _outlook(parts, dag, models))


async def graph_of(parts: Parts, run: RunSummary) -> Dag:
    """The version that the run began with: as it is loaded, as it is kept, or without any task where it is neither."""
    loaded = parts.project().dags.get(run.dag)
    if loaded is not None and loaded.version == run.version:
        return loaded
    kept = await parts.store.runs.version(run.dag, run.version)
    return decode_graph(b"[]" if kept is None else kept[2])


async def models_of(parts: Parts, dag_id: str) -> dict[str, TaskModel]:
    """What is known of the tasks of a DAG; what cannot be read is not known."""
    models: dict[str, TaskModel] = {}
    for row in await parts.store.durations.of(dag_id):
        try:
            models[row.task] = TaskModel.decoded(row.body)
        except ValueError:
            continue
    return models


def slots_of(settings: Settings) -> dict[str, int]:
    """Attempts that can run at once, by executor."""
    named = {
        "loop": settings.max_running_tasks,
        "thread": settings.thread_workers,
        "process": getattr(settings, "process_workers", None),
        "ray": settings.ray_max_running_tasks,
        "dask": settings.dask_max_running_tasks,
    }
    return {name: slots for name, slots in named.items() if slots}


def _outlook(parts: Parts, dag: Dag, models: Mapping[str, TaskModel]) -> Outlook:
    names = [node.task_id for node in dag.tasks]
    return outlook_of(names, models, dag=dag, slots=slots_of(parts.settings))


def _frame(run: RunSummary, progress: RunProgress, body: ProgressBody) -> bytes:
    data = {"run": run.run_id, "state": progress.phase, **body.model_dump()}
    name = b"end" if progress.has_ended else b"progress"
    identity = b"" if progress.sequence < 0 else b"id: %d\n" % progress.sequence
    return b"%bevent: %b\ndata: %b\n\n" % (identity, name, orjson.dumps(data))
