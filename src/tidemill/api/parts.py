"""What the API is given: the store to read and steer by, and callables; it calls no other stage."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, cast

from fastapi import Depends, Request

from tidemill.clock import Clock
from tidemill.project.model import Project
from tidemill.settings import Settings
from tidemill.storage.contract import Store
from tidemill.telemetry.metrics import Metrics

__all__ = ["ASGIApp", "GivenParts", "Message", "Parts", "Receive", "Scope", "Send"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Everything the API works with, put together by the composition root."""

    store: Store
    #: The project as it is now (it is replaced whole on reload).
    project: Callable[[], Project]
    #: Takes `POST /events`.
    ingest: ASGIApp
    #: Takes `POST /webhooks/NAME`.
    webhooks: ASGIApp
    settings: Settings
    clock: Clock
    #: Whether all stages run; false from the moment a stop is asked for.
    ready: Callable[[], bool]
    #: Every source's status, as `dataclasses.asdict` gives it.
    statuses: Callable[[], Sequence[Mapping[str, Any]]]
    metrics: Metrics = field(default_factory=Metrics)
    #: Set when the service drains: open streams end, so that the server can stop.
    stopping: asyncio.Event = field(default_factory=asyncio.Event)


def _parts(request: Request) -> Parts:
    return cast(Parts, request.app.parts)


#: Dependency of every route.
GivenParts = Annotated[Parts, Depends(_parts)]
