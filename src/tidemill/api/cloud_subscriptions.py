"""`/subscriptions`: the CloudEvents Subscriptions API 0.1, by its OpenAPI document.

Subscriptions of the project's files are listed with the others and cannot be changed here. Invalid requests are
answered with 400, as that document has it, and with every problem.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from starlette.exceptions import HTTPException

from tidemill.api import made_subscriptions
from tidemill.api.made_subscriptions import Made
from tidemill.api.parts import GivenParts
from tidemill.api.problems import problem
from tidemill.events import json_text
from tidemill.project.made import InvalidSubscription, SubscriptionRequest
from tidemill.project.model import KafkaSink, Subscription

__all__ = ["router"]

router = APIRouter(prefix="/subscriptions", tags=["CloudEvents subscriptions"])

Id = Annotated[str, Path(max_length=100, description="Id of the subscription.")]
_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": SubscriptionRequest.model_json_schema()}},
    }
}


@router.get("", summary="Query subscriptions")
async def query_subscriptions(parts: GivenParts) -> list[dict[str, Any]]:
    """Every subscription, those of the project first; signing secrets are never shown."""
    listed = [_from_project(one) for one in parts.project().subscriptions]
    return listed + [_shown(one) for one in await made_subscriptions.all_made(parts)]


@router.post("", summary="Create a subscription", status_code=201, openapi_extra=_BODY, response_model=None)
async def create_subscription(
    parts: GivenParts, request: Request, response: Response
) -> dict[str, Any] | Response:
    """Make a subscription. It is durable when answered and matches events after its own position in the log.

    With `protocolsettings.sign` the answer has `signingsecret`, which is shown this once.
    """
    try:
        made = await made_subscriptions.create(parts, await _read(request), by="api")
    except InvalidSubscription as error:
        return _refusal(error)
    response.headers["Location"] = f"/subscriptions/{made.id}"
    return _shown(made)


@router.options("", summary="What can be done with subscriptions")
async def subscriptions_features() -> Response:
    """The methods that are taken."""
    return Response(status_code=200, headers={"Allow": "GET, OPTIONS, POST"})


@router.get("/{subscription_id}", summary="Retrieve a subscription", response_model=None)
async def retrieve_subscription(parts: GivenParts, subscription_id: Id) -> dict[str, Any]:
    """One subscription."""
    for one in parts.project().subscriptions:
        if one.name == subscription_id:
            return _from_project(one)
    return _shown(await made_subscriptions.find(parts, subscription_id))


@router.put("/{subscription_id}", summary="Update a subscription", openapi_extra=_BODY, response_model=None)
async def update_subscription(
    parts: GivenParts, subscription_id: Id, request: Request
) -> dict[str, Any] | Response:
    """Change all of a subscription but its id; what is pending goes to the new sink."""
    try:
        made = await made_subscriptions.update(parts, subscription_id, await _read(request), by="api")
    except InvalidSubscription as error:
        return _refusal(error)
    return _shown(made)


@router.delete("/{subscription_id}", summary="Delete a subscription", response_model=None)
async def delete_subscription(parts: GivenParts, subscription_id: Id) -> dict[str, Any]:
    """Delete a subscription; what is pending for it is cancelled. Answered with what it was."""
    return _shown(await made_subscriptions.delete(parts, subscription_id, by="api"))


@router.options("/{subscription_id}", summary="What can be done with a subscription")
async def subscription_features(subscription_id: Id) -> Response:
    """The methods that are taken."""
    return Response(status_code=200, headers={"Allow": "DELETE, GET, OPTIONS, PUT"})


async def _read(request: Request) -> Any:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise HTTPException(415, "content-type must be application/json")
    return json_text.parse(await request.body())


def _refusal(error: InvalidSubscription) -> Response:
    problems = [{"location": at, "detail": what} for at, what in error.problems]
    return problem(400, "invalid_subscription", "the subscription is refused", problems=problems)


def _shown(made: Made) -> dict[str, Any]:
    shown = {"id": made.id, **made.subscription}
    return shown if made.secret is None else {**shown, "signingsecret": made.secret}


def _from_project(one: Subscription) -> dict[str, Any]:
    sink = one.sink
    is_kafka = isinstance(sink, KafkaSink)
    return {
        "id": one.name,
        "filters": _filters(one.rule.to_json()),
        "sink": f"kafka:{sink.topic}" if isinstance(sink, KafkaSink) else sink.url.partition("?")[0],
        "protocol": "KAFKA" if is_kafka else "HTTP",
        "protocolsettings": {
            "mode": sink.mode,
            "ordered": one.ordered,
            "max_attempts": one.max_attempts,
        },
        "config": {"readonly": "true", "file": one.file, "line": str(one.line)},
    }


def _filters(written: Any) -> list[Any]:
    """A rule as filters; a content pattern is shown as a dialect of its own."""
    if isinstance(written, dict):
        return [{"pattern": written}]
    return [part for one in written for part in (_filters(one) if isinstance(one, list) else [one])]
