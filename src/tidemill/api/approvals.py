"""`/api/v1/approvals`: what people are asked, and what they say; and the callback by which one says it without a token.

1. What ends an approval is decided by its row, once (`storage/approvals`): of two who decide at once both are heard,
   and only one of them ends it.
2. Who decides is who says so: the API token is one for all, so that `by` is a name for the record and for counting. A
   callback is made for one name, which cannot be changed in it.
3. A callback is good for one decision, until it expires: its signature is compared in constant time, and what does not
   verify is not found.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from tidemill.api.callbacks import Callback, make_token, read_token
from tidemill.api.pages import Limit
from tidemill.api.parts import GivenParts, Parts
from tidemill.api.problems import Invalid, problem
from tidemill.api.run_bodies import shown_time
from tidemill.errors import NotFound, StateConflict
from tidemill.project.waits import form_problems
from tidemill.storage.contract import Approval, ApprovalState, SaidDecision

__all__ = ["router"]

router = APIRouter(tags=["approvals"])

#: Longest time that a callback is good for, in seconds (a year).
_LONGEST = 31_536_000
_MICROSECOND = 1_000_000

ApprovalId = Annotated[str, Path(max_length=64, description="Id of the approval.")]
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
TokenPath = Annotated[str, Path(max_length=2048, description="What follows the path in the callback's URL.")]


class ApprovalBody(BaseModel):
    """What people are asked."""

    id: str
    run_id: str
    dag: str
    task: str
    state: ApprovalState
    title: str
    assignees: list[str] = Field(description="Who may decide; everybody when empty.")
    quorum: int = Field(description="How many different people must approve.")
    asked_at: str = Field(description="RFC 3339.")
    due_at: str | None = Field(description="When its time is up.")
    ended_at: str | None


class ApprovalPage(BaseModel):
    """Approvals, newest first."""

    items: list[ApprovalBody]
    next: str | None = Field(description="Pass as `before` for the next page; null at the end.")


class DecisionBody(BaseModel):
    """What one person said."""

    by: str
    decision: Literal["approve", "reject"]
    at: str = Field(description="RFC 3339.")
    via: str = Field(description="api, or callback.")
    data: Any = Field(description="What was filled in.")


class ApprovalView(ApprovalBody):
    """An approval with its form and what was said."""

    form: Any = Field(description="JSON Schema of what is filled in; null for anything.")
    decisions: list[DecisionBody]


class Said(BaseModel):
    """A decision."""

    model_config = ConfigDict(extra="forbid")

    decision: Literal["approve", "reject"]
    data: Any = Field(None, description="What is filled in; must fit the form of an approval that is given.")
    reason: str = Field("", max_length=1000, description="Why it is rejected.")


class Decided(Said):
    """A decision, and whose it is."""

    by: Name = Field("api", description="Who decides; each name counts once.")


class AskedCallback(BaseModel):
    """For whom a callback is made."""

    model_config = ConfigDict(extra="forbid")

    by: Name
    expires_in_seconds: int = Field(604_800, ge=1, le=_LONGEST)


class CallbackBody(BaseModel):
    """A URL by which one person decides once, without a token: whoever has it is that person."""

    url: str
    by: str
    expires_at: str = Field(description="RFC 3339.")


@router.get("/api/v1/approvals", summary="List approvals")
async def list_approvals(
    parts: GivenParts,
    state: Annotated[ApprovalState | None, Query(description="Only those that stand so.")] = None,
    run: Annotated[str | None, Query(max_length=64, description="Only those of this run.")] = None,
    before: Annotated[str | None, Query(max_length=64, description="Only those with a smaller id.")] = None,
    limit: Limit = 50,
) -> ApprovalPage:
    """What people are and were asked, newest first."""
    found = await parts.store.approvals.list(state=state, run=run, before=before, limit=limit)
    return ApprovalPage(
        items=[ApprovalBody(**_body(one)) for one in found],
        next=found[-1].id if len(found) == limit else None,
    )


@router.get("/api/v1/approvals/{approval_id}", summary="Show an approval")
async def show_approval(parts: GivenParts, approval_id: ApprovalId) -> ApprovalView:
    """An approval with its form and what was said."""
    return await _view(parts, await _get(parts, approval_id))


@router.post("/api/v1/approvals/{approval_id}/decision", summary="Decide", response_model=ApprovalView)
async def decide(parts: GivenParts, approval_id: ApprovalId, said: Decided) -> ApprovalView | Response:
    """Approve or reject; durable when answered, and the run goes on soon after when that was enough.

    422 when what was filled in does not fit the form, 403 for who is not asked, 409 when it has ended or the same
    person has decided before.
    """
    approval = await _get(parts, approval_id)
    if (refused := _refused(approval, said.by)) is not None:
        return refused
    if approval.state is not ApprovalState.OPEN:
        raise StateConflict(f"the approval is {approval.state}; only an open one can be decided")
    if not await _say(parts, approval, said, by=said.by, via="api"):
        now = await _get(parts, approval_id)
        if now.state is not ApprovalState.OPEN:
            raise StateConflict(f"the approval is {now.state}; somebody was faster")
        raise StateConflict(f"{said.by} has decided already; each person counts once")
    return await _view(parts, await _get(parts, approval_id))


@router.post("/api/v1/approvals/{approval_id}/callbacks", status_code=201, summary="Make a callback URL")
async def make_callback(
    parts: GivenParts, approval_id: ApprovalId, asked: AskedCallback, request: Request
) -> CallbackBody:
    """A URL for one person, good for one decision without a token until it expires; shown to nobody else."""
    approval = await _get(parts, approval_id)
    if approval.state is not ApprovalState.OPEN:
        raise StateConflict(f"the approval is {approval.state}; only an open one can be decided")
    if approval.assignees and asked.by not in approval.assignees:
        raise StateConflict(f"{asked.by} is not asked; those are who are: {', '.join(approval.assignees)}")
    expires_at = parts.clock.now_us() // _MICROSECOND + asked.expires_in_seconds
    token = make_token(await parts.store.approvals.secret(), Callback(approval_id, asked.by, expires_at))
    return CallbackBody(
        url=f"{str(request.base_url).rstrip('/')}/callbacks/approvals/{token}",
        by=asked.by,
        expires_at=shown_time(expires_at * _MICROSECOND) or "",
    )


@router.get(
    "/callbacks/approvals/{token}", summary="Show what a callback decides", response_model=ApprovalView
)
async def show_callback(parts: GivenParts, token: TokenPath) -> ApprovalView | Response:
    """What is asked; needs no token and decides nothing, whatever follows links by itself."""
    found = await _called(parts, token)
    return found if isinstance(found, Response) else await _view(parts, found[0])


@router.post("/callbacks/approvals/{token}", summary="Decide by a callback", response_model=ApprovalView)
async def decide_by_callback(parts: GivenParts, token: TokenPath, said: Said) -> ApprovalView | Response:
    """Decide as the person for whom the URL was made; needs no token.

    410 when it has expired or the approval has ended, 409 when it was used.
    """
    found = await _called(parts, token)
    if isinstance(found, Response):
        return found
    approval, callback = found
    if not await _say(parts, approval, said, by=callback.by, via="callback"):
        now = await _get(parts, approval.id)
        return _used() if now.state is ApprovalState.OPEN else _closed(now)
    return await _view(parts, await _get(parts, approval.id))


async def _called(parts: Parts, token: str) -> tuple[Approval, Callback] | Response:
    callback = read_token(await parts.store.approvals.secret(), token)
    if callback is None:
        raise NotFound("callback", "")
    if parts.clock.now_us() >= callback.expires_at * _MICROSECOND:
        return problem(410, "callback_expired", "the callback has expired; ask for another one")
    approval = await _get(parts, callback.approval)
    if any(one.by == callback.by for one in await parts.store.approvals.decisions(approval.id)):
        return _used()
    return _closed(approval) if approval.state is not ApprovalState.OPEN else (approval, callback)


def _used() -> Response:
    return problem(409, "callback_used", "this was decided already; a callback is good for one decision")


def _closed(approval: Approval) -> Response:
    return problem(
        410, "approval_ended", f"the approval is {approval.state}; there is nothing left to decide"
    )


def _refused(approval: Approval, by: str) -> Response | None:
    if not approval.assignees or by in approval.assignees:
        return None
    return problem(
        403, "not_assigned", f"only those who are asked may decide: {', '.join(approval.assignees)}"
    )


async def _say(parts: Parts, approval: Approval, said: Said, *, by: str, via: str) -> bool:
    data = said.data
    if said.decision == "approve":
        if found := form_problems(approval.form, data):
            problems = [{"location": pointer, "detail": text} for pointer, text in found]
            raise Invalid("invalid_form", "what was filled in does not fit the form", problems)
    elif data is None and said.reason:
        data = {"reason": said.reason}
    try:
        text = orjson.dumps(data)
    except TypeError as error:
        place = [{"location": "data", "detail": str(error)}]
        raise Invalid("invalid_form", "what was filled in cannot be kept", place) from error
    at = parts.clock.now_us()
    return await parts.store.approvals.decide(approval.id, SaidDecision(by, said.decision, at, via, text))


async def _get(parts: Parts, approval_id: str) -> Approval:
    found = await parts.store.approvals.get(approval_id)
    if found is None:
        raise NotFound("approval", approval_id)
    return found


async def _view(parts: Parts, approval: Approval) -> ApprovalView:
    return ApprovalView(
        **_body(approval),
        form=orjson.loads(approval.form),
        decisions=[
            DecisionBody(
                by=one.by,
                decision="approve" if one.decision == "approve" else "reject",
                at=shown_time(one.at) or "",
                via=one.via,
                data=orjson.loads(one.data),
            )
            for one in await parts.store.approvals.decisions(approval.id)
        ],
    )


def _body(approval: Approval) -> dict[str, Any]:
    return {
        "id": approval.id,
        "run_id": approval.run_id,
        "dag": approval.dag,
        "task": approval.task,
        "state": approval.state,
        "title": approval.title,
        "assignees": list(approval.assignees),
        "quorum": approval.quorum,
        "asked_at": shown_time(approval.asked_at) or "",
        "due_at": shown_time(approval.due_at),
        "ended_at": shown_time(approval.ended_at),
    }
