"""`/api/v1/cache`: results of tasks that are used again for the same code and inputs."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from tidemill.api.pages import Limit
from tidemill.api.parts import GivenParts
from tidemill.api.run_bodies import shown_time
from tidemill.storage.contract.cache import place

__all__ = ["router"]

router = APIRouter(prefix="/api/v1/cache", tags=["cache"])

DagQuery = Annotated[str | None, Query(max_length=250, description="Only results of this DAG.")]
TaskQuery = Annotated[str | None, Query(max_length=250, description="Only results of this task.")]


class CachedBody(BaseModel):
    """A result that may be used again."""

    key: str = Field(description="Hash of the task's code and inputs.")
    dag: str
    task: str
    run: str = Field(description="The run that made it; it is forgotten with that run.")
    made_at: str | None = Field(description="RFC 3339.")
    bytes: int = Field(description="Size of the result as JSON, or of the reference that stands for it.")


class CachePage(BaseModel):
    """Results, newest first."""

    items: list[CachedBody]
    next: str | None = Field(description="Pass as `before` for the next page; null at the end.")


class Cleared(BaseModel):
    """What was forgotten."""

    cleared: int


@router.get("", summary="List cached results")
async def list_cached(
    parts: GivenParts,
    dag: DagQuery = None,
    task: TaskQuery = None,
    before: Annotated[
        str | None, Query(pattern=r"^\d{1,18}-[0-9a-f]{0,64}$", description="The `next` of the page before.")
    ] = None,
    limit: Limit = 50,
) -> CachePage:
    """Results that fulfil every condition given, newest first; those that are too old for their task are among them."""
    found = await parts.store.cache.list(dag=dag, task=task, before=before, limit=limit)
    items = [
        CachedBody(
            key=one.key,
            dag=one.dag,
            task=one.task,
            run=one.run_id,
            made_at=shown_time(one.at),
            bytes=one.size,
        )
        for one in found
    ]
    return CachePage(items=items, next=place(found[-1]) if len(found) == limit else None)


@router.delete("", summary="Forget cached results")
async def clear_cache(
    parts: GivenParts,
    dag: DagQuery = None,
    task: TaskQuery = None,
    key: Annotated[str | None, Query(pattern=r"^[0-9a-f]{64}$", description="Only this one.")] = None,
) -> Cleared:
    """Forget results that fulfil every condition given, all without one; durable when answered."""
    return Cleared(cleared=await parts.store.cache.clear(dag=dag, task=task, key=key))
