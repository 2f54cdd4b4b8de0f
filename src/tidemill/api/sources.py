"""`/api/v1/sources` and `/api/v1/subscriptions`: where events come from and where they go."""

from __future__ import annotations

from typing import Any, Literal
from urllib.parse import urlsplit, urlunsplit

from fastapi import APIRouter
from pydantic import BaseModel, Field

from tidemill.api.parts import GivenParts
from tidemill.clock import rfc3339
from tidemill.project.model import KafkaSink, WebhookSink

__all__ = ["router"]

router = APIRouter(prefix="/api/v1", tags=["sources and subscriptions"])


class SourceBody(BaseModel):
    """How a source is doing."""

    name: str
    kind: str
    state: str = Field(description="starting, live, degraded, stalled or stopped.")
    accepted: int = Field(description="Events appended since the start.")
    duplicates: int
    refused: int
    last_event_at: str | None = Field(description="RFC 3339.")
    lag: int | None = Field(description="Records or files known to wait outside; null when unknown.")
    error: str


class SourceList(BaseModel):
    """Every source."""

    items: list[SourceBody]


class SubscriptionBody(BaseModel):
    """Which events are delivered to which receiver."""

    name: str
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


@router.get("/sources", summary="List sources")
async def list_sources(parts: GivenParts) -> SourceList:
    """Every source and how it is doing."""
    return SourceList(
        items=[
            SourceBody.model_validate({**status, "last_event_at": _time(status["last_event_at"])})
            for status in parts.statuses()
        ]
    )


@router.get("/subscriptions", summary="List subscriptions")
async def list_subscriptions(parts: GivenParts) -> SubscriptionList:
    """Every subscription of the project."""
    return SubscriptionList(
        items=[
            SubscriptionBody(
                name=each.name,
                sink="webhook" if isinstance(each.sink, WebhookSink) else "kafka",
                target=_target(each.sink),
                ordered=each.ordered,
                max_attempts=each.max_attempts,
                filters=each.rule.to_json(),
                file=each.file,
                line=each.line,
            )
            for each in parts.project().subscriptions
        ]
    )


def _target(sink: WebhookSink | KafkaSink) -> str:
    if isinstance(sink, KafkaSink):
        return sink.topic
    # Credentials and tokens travel in these parts of a URL.
    url = urlsplit(sink.url)
    return urlunsplit((url.scheme, url.netloc.rpartition("@")[2], url.path, "", ""))


def _time(at_us: Any) -> str | None:
    return None if at_us is None else rfc3339(at_us)
