"""Who works on the database: the nodes of the fleet."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from tidemill.api.parts import GivenParts

__all__ = ["router"]

router = APIRouter(prefix="/api/v1", tags=["operations"])


class Node(BaseModel):
    """One process that works on the database."""

    name: str
    url: str = Field(description="Where its HTTP server answers.")
    shards: int = Field(description="Shards that it owns.")
    draining: bool = Field(description="True when it gives its shards back.")
    silent_seconds: float = Field(description="Seconds since it was last seen, by the database's clock.")
    load: dict[str, Any] = Field(description="Live runs, running and waiting tasks, events not routed.")


class NodePage(BaseModel):
    """Every node by name; empty where the database belongs to one process."""

    items: list[Node]


@router.get("/nodes", summary="List the nodes")
async def list_nodes(parts: GivenParts) -> NodePage:
    """Every process that shares the database, as the database sees it."""
    return NodePage(
        items=[
            Node(
                name=one.node,
                url=one.url,
                shards=one.shards,
                draining=one.draining,
                silent_seconds=round(one.silent_seconds, 3),
                load=dict(one.load),
            )
            for one in await parts.store.nodes()
        ]
    )
