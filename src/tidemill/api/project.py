"""`/api/v1/project`: what the folders said when they were read last, and since when it is live."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel, Field

from tidemill.api.parts import GivenParts, Parts
from tidemill.clock import rfc3339
from tidemill.errors import StateConflict

__all__ = ["router"]

router = APIRouter(prefix="/api/v1/project", tags=["project"])


class ProblemBody(BaseModel):
    """One thing wrong in the folders."""

    file: str
    line: int = Field(description="From 1; 0 when it is about the whole file.")
    message: str


class RoutedUnderBody(BaseModel):
    """From where on events are routed under a version."""

    after: int = Field(description="Events above this position.")
    version: str
    at: str = Field(description="RFC 3339.")


class ProjectBody(BaseModel):
    """The live version of the project, and what is wrong with its folders now."""

    version: str = Field(description="Hash of everything the folders say.")
    triggers: int
    subscriptions: int
    sources: int
    dags: int
    warnings: list[str]
    problems: list[ProblemBody] = Field(
        description="Why an edit is not live; empty when the folders are right."
    )
    versions: list[RoutedUnderBody] = Field(
        description="Versions that events were routed under, newest first."
    )


@router.get("", summary="Show the live project")
async def show_project(parts: GivenParts) -> ProjectBody:
    """The version that is live, and problems of an edit that is not."""
    return await _body(parts)


@router.post("/reload", summary="Read the folders now")
async def reload_project(parts: GivenParts) -> ProjectBody:
    """Read the folders and make what they say live where it is right; the problems where it is not."""
    if parts.reloader is None:
        raise StateConflict("no server runs for this project: it reads its folders when one starts")
    await parts.reloader.reload()
    return await _body(parts)


async def _body(parts: Parts) -> ProjectBody:
    project = parts.project()
    problems = parts.reloader.problems if parts.reloader is not None else ()
    return ProjectBody(
        version=project.version,
        triggers=len(project.triggers),
        subscriptions=len(project.subscriptions),
        sources=len(project.sources),
        dags=len(project.dags),
        warnings=list(project.warnings),
        problems=[ProblemBody(file=one.file, line=one.line, message=one.message) for one in problems],
        versions=[
            RoutedUnderBody(after=one.position, version=one.version, at=rfc3339(one.at))
            for one in await parts.store.definitions.latest(limit=20)
        ],
    )
