"""`/api/v1/dead-letters`: what could not go on, with the bytes it came as."""

from __future__ import annotations

import base64
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field

from tidemill.api.pages import Limit
from tidemill.api.parts import GivenParts
from tidemill.clock import rfc3339
from tidemill.errors import NotFound
from tidemill.storage.contract import DeadLetter

__all__ = ["router"]

router = APIRouter(prefix="/api/v1/dead-letters", tags=["dead letters"])


class DeadLetterBody(BaseModel):
    """Something that could not go on."""

    id: str
    at: str = Field(description="RFC 3339.")
    stage: str = Field(description="Where it stopped: http, kafka, files, routing or delivery.")
    code: str = Field(description="Why, for programs; stable.")
    detail: str = Field(description="Why, for people.")
    origin: str = Field(description="Name of the source, trigger or subscription.")
    coordinates: dict[str, Any] = Field(description="Where it came from.")
    position: int | None = Field(description="Place in the log, where it is an event that was logged.")


class DeadLetterPage(BaseModel):
    """Dead letters, newest first."""

    items: list[DeadLetterBody]
    next: str | None = Field(description="Pass as `before` for the next page; null at the end.")


class DeadLetterView(DeadLetterBody):
    """A dead letter with its bytes."""

    body: str = Field(description="The bytes as they came, in base64.")


@router.get("", summary="List dead letters")
async def list_dead_letters(
    parts: GivenParts,
    stage: Annotated[str | None, Query(description="Only those that stopped there.")] = None,
    before: Annotated[str | None, Query(max_length=64, description="Only those with a smaller id.")] = None,
    limit: Limit = 50,
) -> DeadLetterPage:
    """Dead letters without their bytes, newest first."""
    found = await parts.store.dead_letters.list(stage=stage, before=before, limit=limit)
    return DeadLetterPage(
        items=[DeadLetterBody(**_members(letter)) for letter in found],
        next=found[-1].id if len(found) == limit else None,
    )


@router.get("/{letter_id}", summary="Show a dead letter")
async def show_dead_letter(
    parts: GivenParts, letter_id: Annotated[str, Path(max_length=64)]
) -> DeadLetterView:
    """A dead letter with the bytes as they came."""
    letter = await parts.store.dead_letters.get(letter_id)
    if letter is None:
        raise NotFound("dead letter", letter_id)
    return DeadLetterView(**_members(letter), body=base64.b64encode(letter.body).decode("ascii"))


def _members(letter: DeadLetter) -> dict[str, Any]:
    return {
        "id": letter.id,
        "at": rfc3339(letter.at),
        "stage": letter.stage,
        "code": letter.code,
        "detail": letter.detail,
        "origin": letter.origin,
        "coordinates": dict(letter.coordinates),
        "position": letter.position,
    }
