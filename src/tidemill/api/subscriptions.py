"""`/api/v1/subscriptions`: how every subscription is doing, whoever made it, and steering of its deliveries."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import urlsplit, urlunsplit

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from tidemill.api import made_subscriptions
from tidemill.api.bodies import read_body, schema_of
from tidemill.api.dead_letters import Asked, Chosen, Outcome, redrive_all
from tidemill.api.pages import Limit
from tidemill.api.parts import GivenParts, Parts
from tidemill.clock import rfc3339
from tidemill.errors import NotFound, StateConflict
from tidemill.project.made import build_made
from tidemill.project.model import KafkaSink, Subscription, WebhookSink
from tidemill.storage.contract import SubscriptionState, SubscriptionStatus

__all__ = ["router"]

router = APIRouter(prefix="/api/v1/subscriptions", tags=["subscriptions"])

Name = Annotated[str, Path(max_length=100, description="Name or id of the subscription.")]
#: Pending deliveries are counted up to this number.
_COUNTED = 10_000


class SubscriptionBody(BaseModel):
    """Which events are delivered to which receiver."""

    name: str
    origin: Literal["project", "api"] = Field(description="Who made it: the project's files, or the API.")
    state: str = Field(description="active, paused or disabled (its receiver said that it is gone).")
    reason: str = Field(description="Why it is in that state.")
    sink: Literal["webhook", "kafka"]
    target: str = Field(description="URL without credentials and query, or topic.")
    ordered: bool
    max_attempts: int
    filters: Any = Field(description="The rule as it was written.")
    file: str
    line: int


class SubscriptionList(BaseModel):
    """Every subscription."""

    items: list[SubscriptionBody]


class SubscriptionView(SubscriptionBody):
    """A subscription with how far it is."""

    since: int | None = Field(description="Matches events after this position; null for the project's.")
    cursor: int = Field(description="Everything up to this position is settled.")
    pending: int = Field(description=f"Deliveries that are pending; counted up to {_COUNTED}.")
    oldest_pending: int | None = Field(description="Position of the oldest of them.")
    newest_delivered: int | None = Field(description="Position of the newest event that was accepted.")
    lag_seconds: float | None = Field(description="How long the oldest pending event has been in the log.")
    changed_by: str = Field(description="Who set the state.")
    changed_at: str | None = Field(description="When, RFC 3339.")


class AttemptBody(BaseModel):
    """One attempt at one delivery."""

    number: int
    position: int
    attempt: int = Field(description="Of this delivery, from 1.")
    at: str = Field(description="RFC 3339.")
    duration_ms: float
    outcome: str = Field(description="delivered, failed or dead_lettered.")
    status: int | None = Field(description="The receiver's HTTP status, where it failed with one.")
    error: str


class AttemptPage(BaseModel):
    """Attempts, newest first; the last 1,000 of a subscription are kept."""

    items: list[AttemptBody]
    next: str | None = Field(description="Pass as `before` for the next page; null at the end.")


class Rotation(BaseModel):
    """How a new secret takes over."""

    model_config = ConfigDict(extra="forbid")

    overlap_seconds: float = Field(
        86_400, ge=0, le=30 * 86_400, description="How long the secrets before it sign beside it."
    )


class NewSecret(BaseModel):
    """A secret that is shown this once."""

    signingsecret: str


@router.get("", summary="List subscriptions")
async def list_subscriptions(parts: GivenParts) -> SubscriptionList:
    """Every subscription, those of the project first."""
    states = await parts.store.subscriptions.states()
    return SubscriptionList(
        items=[
            SubscriptionBody(**_members(one, states.get(one.name), since)) for one, since in await _all(parts)
        ]
    )


@router.get("/{name}", summary="Show a subscription")
async def show_subscription(parts: GivenParts, name: Name) -> SubscriptionView:
    """One subscription: its state, and how far its deliveries are."""
    return await _view(parts, name)


@router.get("/{name}/attempts", summary="List delivery attempts")
async def list_attempts(
    parts: GivenParts,
    name: Name,
    before: Annotated[
        int | None, Query(ge=0, le=2**62, description="Only those with a smaller number.")
    ] = None,
    limit: Limit = 50,
) -> AttemptPage:
    """The latest attempts at deliveries, newest first."""
    await _find(parts, name)
    found = await parts.store.subscriptions.attempts(name, before=before, limit=limit)
    return AttemptPage(
        items=[
            AttemptBody(
                number=one.number,
                position=one.position,
                attempt=one.attempt,
                at=rfc3339(one.at),
                duration_ms=one.duration_us / 1000,
                outcome=one.outcome,
                status=one.status,
                error=one.error,
            )
            for one in found
        ],
        next=str(found[-1].number) if len(found) == limit else None,
    )


@router.post("/{name}/pause", summary="Pause a subscription", openapi_extra={"requestBody": schema_of(Asked)})
async def pause_subscription(parts: GivenParts, name: Name, request: Request) -> SubscriptionView:
    """Deliver nothing until it is resumed, on every node and over restarts; what it would get stays pending."""
    return await _set(parts, name, request, SubscriptionState.ACTIVE, SubscriptionState.PAUSED)


@router.post(
    "/{name}/resume", summary="Resume a subscription", openapi_extra={"requestBody": schema_of(Asked)}
)
async def resume_subscription(parts: GivenParts, name: Name, request: Request) -> SubscriptionView:
    """Deliver again after a pause."""
    return await _set(parts, name, request, SubscriptionState.PAUSED, SubscriptionState.ACTIVE)


@router.post(
    "/{name}/enable", summary="Enable a subscription", openapi_extra={"requestBody": schema_of(Asked)}
)
async def enable_subscription(parts: GivenParts, name: Name, request: Request) -> SubscriptionView:
    """Deliver again although the receiver has said (410) that it is gone; what is pending is tried at once."""
    return await _set(parts, name, request, SubscriptionState.DISABLED, SubscriptionState.ACTIVE)


@router.post(
    "/{name}/redrive", summary="Redrive a subscription", openapi_extra={"requestBody": schema_of(Asked)}
)
async def redrive_subscription(parts: GivenParts, name: Name, request: Request) -> Outcome:
    """Redrive the subscription's open dead letters, up to 1,000 in one call."""
    asked = await read_body(request, Asked)
    await _find(parts, name)
    chosen = Chosen(stage="delivery", origin=name, limit=1000, by=asked.by, reason=asked.reason)
    return await redrive_all(parts, chosen)


@router.post(
    "/{name}/secrets", summary="Rotate the signing secret", openapi_extra={"requestBody": schema_of(Rotation)}
)
async def rotate_secret(parts: GivenParts, name: Name, request: Request) -> NewSecret:
    """Make a new signing secret of a subscription made by API; those before it sign beside it for a while."""
    rotation = await read_body(request, Rotation)
    made = await made_subscriptions.rotate(parts, name, overlap_seconds=rotation.overlap_seconds, by="api")
    return NewSecret(signingsecret=made.secret or "")


async def _set(
    parts: Parts, name: str, request: Request, before: SubscriptionState, after: SubscriptionState
) -> SubscriptionView:
    """Change the state; asking again is answered as the first time."""
    asked = await read_body(request, Asked)
    await _find(parts, name)
    status = (await parts.store.subscriptions.states()).get(name)
    state = SubscriptionState.ACTIVE if status is None else status.state
    if state not in (before, after):
        raise StateConflict(f"the subscription is {state}")
    if state is before:
        await parts.store.subscriptions.set_state(
            name, after, reason=_clean(asked.reason), by=_clean(asked.by)
        )
    return await _view(parts, name)


async def _view(parts: Parts, name: str) -> SubscriptionView:
    one, since = await _find(parts, name)
    store = parts.store
    status = (await store.subscriptions.states()).get(name)
    backlog = await store.subscriptions.backlog(name, limit=_COUNTED)
    oldest = None if backlog.oldest_pending is None else await store.log.get(backlog.oldest_pending)
    routed = store.log.routed
    return SubscriptionView(
        **_members(one, status, since),
        since=since,
        cursor=routed if backlog.oldest_pending is None else min(routed, backlog.oldest_pending - 1),
        pending=backlog.pending,
        oldest_pending=backlog.oldest_pending,
        newest_delivered=backlog.newest_delivered,
        lag_seconds=None if oldest is None else max(0, parts.clock.now_us() - oldest.received_at) / 1_000_000,
        changed_by="" if status is None else status.by,
        changed_at=None if status is None else rfc3339(status.at),
    )


async def _all(parts: Parts) -> list[tuple[Subscription, int | None]]:
    """Every subscription; those made by API with the position after which they match."""
    made = await made_subscriptions.all_made(parts)
    return [
        *((one, None) for one in parts.project().subscriptions),
        *((build_made(one.id, one.subscription), one.position) for one in made),
    ]


async def _find(parts: Parts, name: str) -> tuple[Subscription, int | None]:
    for one in parts.project().subscriptions:
        if one.name == name:
            return one, None
    row = await parts.store.subscriptions.get(name)
    if row is None:
        raise NotFound("subscription", name)
    made = await made_subscriptions.find(parts, name)
    return build_made(made.id, made.subscription), made.position


def _members(one: Subscription, status: SubscriptionStatus | None, since: int | None) -> dict[str, Any]:
    return {
        "name": one.name,
        "origin": "project" if since is None else "api",
        "state": SubscriptionState.ACTIVE.value if status is None else status.state.value,
        "reason": "" if status is None else status.reason,
        "sink": "webhook" if isinstance(one.sink, WebhookSink) else "kafka",
        "target": _target(one.sink),
        "ordered": one.ordered,
        "max_attempts": one.max_attempts,
        "filters": one.rule.to_json(),
        "file": one.file,
        "line": one.line,
    }


def _target(sink: WebhookSink | KafkaSink) -> str:
    if isinstance(sink, KafkaSink):
        return sink.topic
    # Credentials and tokens travel in these parts of a URL.
    url = urlsplit(sink.url)
    return urlunsplit((url.scheme, url.netloc.rpartition("@")[2], url.path, "", ""))


def _clean(text: str) -> str:
    return "".join(sign if sign.isprintable() else " " for sign in text).strip()
