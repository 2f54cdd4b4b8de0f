"""The API over a project's store while no service runs: the same application, without stages.

What is written so is durable when it is answered, and is routed and carried out when the service starts. The
store belongs to this process alone until it is closed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, assert_never

from tidemill.api.application import Application, create_application
from tidemill.api.parts import Parts
from tidemill.clock import Clock, SystemClock
from tidemill.project.load import load
from tidemill.project.model import FileSource, KafkaSource, Project, SourceSpec, WebhookSource
from tidemill.service.database import open_project_store
from tidemill.settings import Settings
from tidemill.sources.contract import SourceState, SourceStatus
from tidemill.sources.http import HttpIngest
from tidemill.sources.webhook import WebhookIngest

__all__ = ["open_offline"]

_NOT_RUNNING = "no server runs for this project"


@asynccontextmanager
async def open_offline(
    root: Path, settings: Settings, *, clock: Clock | None = None
) -> AsyncIterator[Application]:
    """The application of the project at `root` on its store, which is closed afterwards.

    Raises `DefinitionError`, `SettingsError`, `StorageError`, and `ProjectLocked` when another process works
    on the project: ask its server instead.
    """
    given = clock or SystemClock()
    project = load(root, max_tasks=settings.max_tasks_per_dag)
    store = await open_project_store(root, settings, clock=given)
    try:
        yield create_application(
            Parts(
                store=store,
                project=lambda: project,
                ingest=HttpIngest(store.log, clock=given, settings=settings),
                webhooks=WebhookIngest(store.log, project=lambda: project, clock=given, settings=settings),
                settings=settings,
                clock=given,
                ready=lambda: False,
                statuses=lambda: _statuses(project),
            )
        )
    finally:
        await store.close()


def _statuses(project: Project) -> Sequence[Mapping[str, Any]]:
    kinds = [("http", "http"), *((spec.name, _kind(spec)) for spec in project.sources)]
    if any(dag.schedule is not None for dag in project.dags.values()):
        kinds.append(("schedule", "schedule"))
    return [asdict(SourceStatus(name, kind, SourceState.STOPPED, error=_NOT_RUNNING)) for name, kind in kinds]


def _kind(spec: SourceSpec) -> str:
    match spec:
        case WebhookSource():
            return "webhook"
        case FileSource():
            return "files"
        case KafkaSource():
            return "kafka"
        case _:
            assert_never(spec)
