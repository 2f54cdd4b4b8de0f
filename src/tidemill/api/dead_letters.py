"""`/api/v1/dead-letters`: what could not go on, with the bytes it came as, and what people do about it."""

from __future__ import annotations

import base64
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from tidemill.api import letter_actions
from tidemill.api.bodies import read_body, schema_of
from tidemill.api.pages import Limit
from tidemill.api.parts import GivenParts, Parts
from tidemill.api.problems import Invalid
from tidemill.clock import rfc3339
from tidemill.errors import EventRejected, StateConflict
from tidemill.events import json_text
from tidemill.storage.contract import DeadLetter, LetterAction, LetterState

__all__ = ["Asked", "Chosen", "Outcome", "redrive_all", "router"]

router = APIRouter(prefix="/api/v1", tags=["dead letters"])

LetterId = Annotated[str, Path(max_length=64)]
By = Annotated[str, Field(max_length=200, description="Who asks, for the record.")]
Reason = Annotated[str, Field(max_length=2000, description="Why, for the record.")]
_PATCH_TYPE = "application/json-patch+json"


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
    state: str = Field(description="open, redriven or discarded.")


class DeadLetterPage(BaseModel):
    """Dead letters, newest first."""

    items: list[DeadLetterBody]
    next: str | None = Field(description="Pass as `before` for the next page; null at the end.")


class ActionBody(BaseModel):
    """What somebody did with a dead letter."""

    number: int
    at: str = Field(description="RFC 3339.")
    by: str
    kind: str = Field(description="edited, redriven or discarded.")
    reason: str
    detail: dict[str, Any] = Field(description="The patch of an edit, the identity of an appended event.")
    body: str | None = Field(description="The version that an edit made, in base64.")


class DeadLetterView(DeadLetterBody):
    """A dead letter with its bytes and what was done with it."""

    body: str = Field(description="The bytes as they came, in base64.")
    current: str = Field(description="The newest version, in base64; what a redrive sends.")
    redrives: int = Field(description="How often it was redriven.")
    actions: list[ActionBody]


class Asked(BaseModel):
    """Who asks for something to be done with one dead letter, and why."""

    model_config = ConfigDict(extra="forbid", strict=True)

    by: By = "api"
    reason: Reason = ""


class Chosen(Asked):
    """Which open dead letters are meant: those to which all that is given applies."""

    stage: str | None = None
    code: str | None = None
    origin: str | None = None
    before: str | None = Field(None, max_length=64, description="Only those with a smaller id.")
    limit: int = Field(100, ge=1, le=1000, description="Most letters in one call.")


class Failure(BaseModel):
    """A dead letter to which it could not be done."""

    id: str
    code: str
    detail: str


class Outcome(BaseModel):
    """What came of it."""

    done: int
    failed: list[Failure]
    next: str | None = Field(description="There are further ones: ask again with this as `before`.")


@router.get("/dead-letters", summary="List dead letters")
async def list_dead_letters(
    parts: GivenParts,
    stage: Annotated[str | None, Query(description="Only those that stopped there.")] = None,
    state: Annotated[LetterState | None, Query(description="Only those that stand so.")] = None,
    code: Annotated[str | None, Query(max_length=100, description="Only those with this reason.")] = None,
    origin: Annotated[
        str | None, Query(max_length=200, description="Only those of this source, trigger or subscription.")
    ] = None,
    before: Annotated[str | None, Query(max_length=64, description="Only those with a smaller id.")] = None,
    limit: Limit = 50,
) -> DeadLetterPage:
    """Dead letters without their bytes, newest first."""
    found = await parts.store.dead_letters.list(
        stage=stage, before=before, limit=limit, state=state, code=code, origin=origin
    )
    return DeadLetterPage(
        items=[DeadLetterBody(**_members(letter)) for letter in found],
        next=found[-1].id if len(found) == limit else None,
    )


@router.get("/dead-letters/{letter_id}", summary="Show a dead letter")
async def show_dead_letter(parts: GivenParts, letter_id: LetterId) -> DeadLetterView:
    """A dead letter with the bytes as they came, its newest version, and what was done with it."""
    return await _view(parts, letter_id)


@router.patch(
    "/dead-letters/{letter_id}",
    summary="Edit a dead letter",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {_PATCH_TYPE: {"schema": {"type": "array", "items": {"type": "object"}}}},
        }
    },
)
async def edit_dead_letter(
    parts: GivenParts,
    letter_id: LetterId,
    request: Request,
    by: Annotated[str, Query(max_length=200, description="Who asks, for the record.")] = "api",
    reason: Annotated[str, Query(max_length=2000, description="Why, for the record.")] = "",
) -> DeadLetterView:
    """Change the event of an open letter by a JSON Patch (RFC 6902); the result is checked as every event is.

    The bytes as they came are kept. Where they are no JSON, a patch of the whole document (`path` empty) replaces them.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in (_PATCH_TYPE, "application/json"):
        raise HTTPException(415, f"content-type must be {_PATCH_TYPE}")
    patch = json_text.parse(await request.body(), envelope=2)
    letter = await letter_actions.find(parts, letter_id)
    await letter_actions.edit(parts, letter, patch, by=_clean(by), reason=_clean(reason))
    return await _view(parts, letter_id)


@router.post(
    "/dead-letters/{letter_id}/redrive",
    summary="Redrive a dead letter",
    openapi_extra={"requestBody": schema_of(Asked)},
)
async def redrive_dead_letter(parts: GivenParts, letter_id: LetterId, request: Request) -> DeadLetterView:
    """Send the newest version through the stage where it stopped; durable when answered, and done once."""
    asked = await read_body(request, Asked)
    letter = await letter_actions.find(parts, letter_id)
    await letter_actions.redrive(parts, letter, by=_clean(asked.by), reason=_clean(asked.reason))
    return await _view(parts, letter_id)


@router.post(
    "/dead-letters/{letter_id}/discard",
    summary="Discard a dead letter",
    openapi_extra={"requestBody": schema_of(Asked)},
)
async def discard_dead_letter(parts: GivenParts, letter_id: LetterId, request: Request) -> DeadLetterView:
    """Say that nothing more is to come of it; it stays listed as discarded. A reason is required."""
    asked = await read_body(request, Asked)
    _require_reason(asked)
    letter = await letter_actions.find(parts, letter_id)
    await letter_actions.discard(parts, letter, by=_clean(asked.by), reason=_clean(asked.reason))
    return await _view(parts, letter_id)


@router.post("/redrives", summary="Redrive dead letters", openapi_extra={"requestBody": schema_of(Chosen)})
async def redrive_dead_letters(parts: GivenParts, request: Request) -> Outcome:
    """Redrive open dead letters, oldest of the newest `limit` first; each by itself: one that fails stops no other."""
    return await redrive_all(parts, await read_body(request, Chosen))


@router.post("/discards", summary="Discard dead letters", openapi_extra={"requestBody": schema_of(Chosen)})
async def discard_dead_letters(parts: GivenParts, request: Request) -> Outcome:
    """Discard open dead letters; a reason is required."""
    chosen = await read_body(request, Chosen)
    _require_reason(chosen)
    return await _each(parts, chosen, letter_actions.discard)


async def redrive_all(parts: Parts, chosen: Chosen) -> Outcome:
    """Redrive what is chosen."""
    return await _each(parts, chosen, letter_actions.redrive)


async def _each(parts: Parts, chosen: Chosen, work: Any) -> Outcome:
    found = await parts.store.dead_letters.list(
        stage=chosen.stage,
        before=chosen.before,
        limit=chosen.limit + 1,
        state=LetterState.OPEN,
        code=chosen.code,
        origin=chosen.origin,
    )
    more = len(found) > chosen.limit
    outcome = Outcome(done=0, failed=[], next=found[chosen.limit - 1].id if more else None)
    for letter in reversed(found[: chosen.limit]):
        try:
            whole = await letter_actions.find(parts, letter.id)
            await work(parts, whole, by=_clean(chosen.by), reason=_clean(chosen.reason))
            outcome.done += 1
        except EventRejected as error:
            outcome.failed.append(Failure(id=letter.id, code=error.code, detail=error.detail))
        except StateConflict as error:
            outcome.failed.append(Failure(id=letter.id, code="state_conflict", detail=str(error)))
    return outcome


async def _view(parts: Parts, letter_id: str) -> DeadLetterView:
    letter = await letter_actions.find(parts, letter_id)
    actions = await parts.store.dead_letters.actions(letter_id)
    current = next((one.body for one in reversed(actions) if one.body is not None), letter.body)
    return DeadLetterView(
        **_members(letter),
        body=_base64(letter.body),
        current=_base64(current),
        redrives=sum(one.kind == "redriven" for one in actions),
        actions=[_action(one) for one in actions],
    )


def _action(one: LetterAction) -> ActionBody:
    return ActionBody(
        number=one.number,
        at=rfc3339(one.at),
        by=one.by,
        kind=one.kind.value,
        reason=one.reason,
        detail=dict(one.detail),
        body=None if one.body is None else _base64(one.body),
    )


def _require_reason(asked: Asked) -> None:
    if not asked.reason.strip():
        problems: list[dict[str, object]] = [{"location": "reason", "detail": "is missing"}]
        raise Invalid("invalid_request", "say why it is discarded", problems)


def _clean(text: str) -> str:
    """Text for the record, which ends up in terminals: printable only."""
    return "".join(sign if sign.isprintable() else " " for sign in text).strip()


def _base64(body: bytes) -> str:
    return base64.b64encode(body).decode("ascii")


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
        "state": letter.state,
    }
