"""For those who run the service: health, readiness, metrics."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel

from tidemill.api.parts import GivenParts
from tidemill.api.problems import problem
from tidemill.telemetry import metrics

__all__ = ["router"]

router = APIRouter(tags=["operations"])


class Live(BaseModel):
    """The process answers."""

    status: Literal["live"] = "live"


class Ready(BaseModel):
    """All stages run."""

    status: Literal["ready"] = "ready"


@router.get("/health/live", summary="Is the process alive?")
async def live() -> Live:
    """Always answered while the event loop turns; needs no token."""
    return Live()


@router.get("/health/ready", summary="Is the service ready?", response_model=Ready)
async def ready(parts: GivenParts) -> Ready | Response:
    """200 while all stages run, 503 before and from the moment a stop was asked for; needs no token."""
    if parts.ready():
        return Ready()
    return problem(503, "not_ready", "the service is starting or stopping", headers={"Retry-After": "1"})


@router.get(
    "/metrics",
    summary="Metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def show_metrics(parts: GivenParts) -> Response:
    """Everything measured, as Prometheus text."""
    shards, runs = parts.store.shards, parts.store.runs
    families = [
        *metrics.event_families(parts.statuses()),
        *metrics.fleet_families(len(shards.owned), parts.store.refused_records),
        *metrics.shard_families(await runs.open_counts(shards.owned) if shards.shared else {}),
        *(() if parts.pools is None else metrics.pool_families(parts.pools.views(), parts.pools.resources())),
        *metrics.store_families(parts.store.log.head, await runs.counts()),
        *metrics.wait_families(await parts.store.waits.counts(shards.filter)),
    ]
    return Response(parts.metrics.render(families), media_type=metrics.CONTENT_TYPE)
