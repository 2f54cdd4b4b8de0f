"""What the API is given: the store to read and steer by, and callables; it calls no other stage."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Protocol, cast

from fastapi import Depends, Request

from tidemill.clock import Clock
from tidemill.errors import Problem
from tidemill.events import json_format
from tidemill.events.event import Event
from tidemill.project.model import Project
from tidemill.settings import Settings
from tidemill.storage.contract import DeadLetter, Store
from tidemill.telemetry.metrics import Metrics

__all__ = [
    "ASGIApp",
    "GivenParts",
    "Message",
    "Parts",
    "Pauses",
    "PoolLimits",
    "Receive",
    "Reloads",
    "Scope",
    "Send",
    "TriggerPauses",
]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]


class Pauses(Protocol):
    """Pauses sources and lets them go on; durable on return."""

    async def pause(self, name: str) -> None: ...

    async def resume(self, name: str) -> None: ...


class TriggerPauses(Pauses, Protocol):
    """Pauses triggers and lets them go on; durable on return."""

    def paused_at(self, name: str) -> str | None: ...


class PoolLimits(Protocol):
    """Shows pools and resources, and changes how many slots pools have; durable on return."""

    def views(self) -> Sequence[Mapping[str, Any]]: ...

    def resources(self) -> Sequence[Mapping[str, Any]]: ...

    async def set(self, name: str, slots: int, *, by: str) -> None: ...

    async def reset(self, name: str) -> None: ...


class Reloads(Protocol):
    """Makes what the folders say live, where it is right."""

    @property
    def problems(self) -> Sequence[Problem]: ...

    async def reload(self) -> object: ...


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
    #: Whether a webhook's path may be asked without the service's token: it verifies signatures, or says so.
    is_open_webhook: Callable[[str], bool] = lambda _path: False
    settings: Settings
    clock: Clock
    #: Whether all stages run; false from the moment a stop is asked for.
    ready: Callable[[], bool]
    #: Every source's status, as `dataclasses.asdict` gives it.
    statuses: Callable[[], Sequence[Mapping[str, Any]]]
    #: Pauses sources; None where there are none to pause.
    pauses: Pauses | None = None
    #: Pauses triggers; None where nobody can.
    trigger_pauses: TriggerPauses | None = None
    #: Pools and resources; None where nobody knows them.
    pools: PoolLimits | None = None
    #: Compares a source with the outside, as plain values; None where nobody can.
    reconcile: Callable[[str], Awaitable[Mapping[str, Any]]] | None = None
    #: Keeps the project up with its folders; None where no service runs.
    reloader: Reloads | None = None
    #: Whether deliveries of subscriptions made by API may go to a host, as far as its name or address says.
    reaches: Callable[[str], bool] = lambda _host: True
    #: Reads the bytes of a source's dead letter again, as the source does today; raises `EventRejected`.
    decode_letter: Callable[[DeadLetter], Event] = lambda letter: json_format.decode(letter.body)
    metrics: Metrics = field(default_factory=Metrics)
    #: One for each stream of a run's progress that is open.
    followers: set[object] = field(default_factory=set)
    #: Set when the service drains: open streams end, so that the server can stop.
    stopping: asyncio.Event = field(default_factory=asyncio.Event)


def _parts(request: Request) -> Parts:
    return cast(Parts, request.app.parts)


#: Dependency of every route.
GivenParts = Annotated[Parts, Depends(_parts)]
