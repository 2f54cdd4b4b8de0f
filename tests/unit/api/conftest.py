"""The whole HTTP surface over a real store, asked through ASGI; time is virtual."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tidemill.api.application import Application, create_application
from tidemill.api.parts import Parts
from tidemill.events.event import Event
from tidemill.project.model import Project
from tidemill.settings import Settings
from tidemill.sources.http import HttpIngest
from tidemill.sources.pauses import SourcePauses
from tidemill.sources.webhook import WebhookIngest
from tidemill.storage.contract import Append, Store
from tidemill.storage.sqlite import open_store
from tidemill.testing.clock import ManualClock


@dataclass
class Surface:
    """An application with everything behind it."""

    app: Application
    client: httpx.AsyncClient
    parts: Parts
    store: Store
    clock: ManualClock
    #: Replaced by tests that need definitions.
    project: Project
    is_ready: bool = True
    clients: list[httpx.AsyncClient] = field(default_factory=list)

    async def append(self, *ids: str, type: str = "order.placed", source: str = "/shop") -> list[int]:  # noqa: A002
        """Append events with these ids; their positions."""
        events = [Event(id=each, source=source, type=type, data={"n": each}) for each in ids]
        return [answer.position for answer in await self.store.log.append(Append(events=events))]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def store(tmp_path: Path, clock: ManualClock) -> AsyncIterator[Store]:
    opened = await open_store(tmp_path / "state" / "tidemill.db", clock=clock)
    yield opened
    await opened.close()


@pytest.fixture
def make_project(tmp_path: Path) -> Callable[..., Project]:
    def make(**members: Any) -> Project:
        empty: dict[str, Any] = {
            "root": tmp_path,
            "dags": {},
            "triggers": (),
            "subscriptions": (),
            "sources": (),
            "version": "1",
        }
        return Project(**{**empty, **members})

    return make


@pytest.fixture
async def serve(
    store: Store, clock: ManualClock, make_project: Callable[..., Project]
) -> AsyncIterator[Callable[..., Surface]]:
    made: list[Surface] = []

    def make(*, project: Project | None = None, store: Store = store, **settings: Any) -> Surface:
        given = Settings(**settings)
        held = [project or make_project()]
        pauses = SourcePauses(store.log, store.ledger, clock=clock)
        ingest = HttpIngest(store.log, clock=clock, settings=given, is_paused=pauses.is_paused)
        webhooks = WebhookIngest(
            store.log,
            project=lambda: held[0],
            clock=clock,
            settings=given,
            is_paused=pauses.is_paused,
        )
        parts = Parts(
            store=store,
            project=lambda: held[0],
            ingest=ingest,
            webhooks=webhooks,
            is_open_webhook=webhooks.is_open,
            settings=given,
            clock=clock,
            ready=lambda: made[0].is_ready,
            pauses=pauses,
            statuses=lambda: [
                dataclasses.asdict(pauses.shown(status)) for status in (ingest.status(), *webhooks.statuses())
            ],
        )
        app = create_application(parts)
        client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost")
        made.append(Surface(app, client, parts, store, clock, held[0]))
        return made[-1]

    yield make
    for surface in made:
        await surface.client.aclose()


@pytest.fixture
def surface(serve: Callable[..., Surface]) -> Surface:
    return serve()
