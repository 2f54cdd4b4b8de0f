"""`/api/v1/pools` and `/api/v1/resources`: what tasks contend for, and how much of it they may have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, ConfigDict, Field

from tidemill.api.bodies import read_body, schema_of
from tidemill.api.parts import GivenParts, Parts, PoolLimits
from tidemill.clock import rfc3339
from tidemill.errors import NotFound, StateConflict

__all__ = ["router"]

router = APIRouter(prefix="/api/v1", tags=["pools"])

PoolName = Annotated[str, Path(max_length=250, description="Name of the pool.")]


class PoolBody(BaseModel):
    """A pool as this process sees it."""

    name: str
    slots: int | None = Field(description="Slots that may be taken at once; 0 is paused, null is no limit.")
    used: int = Field(description="Slots that attempts have now.")
    queued: int = Field(description="Tasks that wait in it.")
    started: int = Field(description="Attempts started since the start.")
    waited_seconds: float = Field(
        description="Seconds that tasks have waited in it since the start, together."
    )
    weight: float = Field(description="Its part of an executor that several pools contend for.")
    sharing: str = Field(description="Among whom it is shared while it is contended: dag, key or none.")
    max_queued: int = Field(description="Waiting tasks at which runs of DAGs that use it are held back.")
    settings_slots: int | None = Field(description="What the settings say.")
    set_by: str | None = Field(description="Who set its slots while the service ran; null while nobody has.")
    set_at: str | None = Field(description="RFC 3339.")


class PoolList(BaseModel):
    """Every pool, the default pool first."""

    items: list[PoolBody]


class PoolChange(BaseModel):
    """How many slots a pool has from now on."""

    model_config = ConfigDict(extra="forbid")

    slots: int = Field(ge=0, le=1_000_000, description="0 pauses it.")
    by: str = Field("api", max_length=250, description="Who says so.")


class ResourceBody(BaseModel):
    """One resource of the machine that this process runs on."""

    name: str
    total: float = Field(description="What there is: processors, bytes, devices, or amounts of your own.")
    used: float = Field(description="What attempts have now.")


class ResourceList(BaseModel):
    """Every resource by name."""

    items: list[ResourceBody]


@router.get("/pools", summary="List pools")
async def list_pools(parts: GivenParts) -> PoolList:
    """Every pool: its slots, what of them is in use, and how many tasks wait."""
    return PoolList(items=[_body(view) for view in _pools(parts).views()])


@router.get("/pools/{name}", summary="Show a pool")
async def show_pool(parts: GivenParts, name: PoolName) -> PoolBody:
    """One pool."""
    return _find(parts, name)


@router.put(
    "/pools/{name}", summary="Set a pool's slots", openapi_extra={"requestBody": schema_of(PoolChange)}
)
async def set_pool(parts: GivenParts, name: PoolName, request: Request) -> PoolBody:
    """Let so many slots be taken from now on, over restarts and on every node; durable when answered.

    What runs goes on: a pool that has become smaller takes nothing new until enough has ended. A waiting task that
    asks for more slots than the pool has now fails, unless that is 0.
    """
    change = await read_body(request, PoolChange)
    await _pools(parts).set(name, change.slots, by=change.by)
    return _find(parts, name)


@router.delete("/pools/{name}", summary="Reset a pool's slots")
async def reset_pool(parts: GivenParts, name: PoolName) -> PoolBody:
    """Let the settings say again how many slots there are; durable when answered."""
    await _pools(parts).reset(name)
    return _find(parts, name)


@router.get("/resources", summary="List resources")
async def list_resources(parts: GivenParts) -> ResourceList:
    """What this machine has for tasks, and what of it is in use."""
    return ResourceList(items=[ResourceBody.model_validate(one) for one in _pools(parts).resources()])


def _pools(parts: Parts) -> PoolLimits:
    if parts.pools is None:
        raise StateConflict("there are no pools here")
    return parts.pools


def _find(parts: Parts, name: str) -> PoolBody:
    for view in _pools(parts).views():
        if view["name"] == name:
            return _body(view)
    raise NotFound("pool", name)


def _body(view: Mapping[str, Any]) -> PoolBody:
    at = view["set_at"]
    return PoolBody.model_validate({**view, "set_at": None if at is None else rfc3339(at)})
