"""The API over a project's store while no service runs: the same application, without stages.

What is written so is durable when it is answered, and is routed and carried out when the service starts. The
store belongs to this process alone until it is closed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, assert_never

from tidemill.api.application import Application, create_application
from tidemill.api.parts import Parts
from tidemill.clock import Clock, SystemClock
from tidemill.project.load import load
from tidemill.project.model import (
    FileSource,
    KafkaSource,
    PluginSource,
    PostgresSource,
    Project,
    ScheduleSource,
    SourceSpec,
    TableSource,
    WebhookSource,
)
from tidemill.service.database import open_project_store
from tidemill.service.letters import decode_letter
from tidemill.service.pools import LivePools, refusing
from tidemill.service.reconcile import reconciler
from tidemill.service.sinks import reaches
from tidemill.settings import Settings
from tidemill.sources.contract import SourceState, SourceStatus
from tidemill.sources.http import HttpIngest
from tidemill.sources.pauses import SourcePauses
from tidemill.sources.webhook import WebhookIngest
from tidemill.storage.paused import PausedKind, PausedNames

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
    project = load(root, max_tasks=settings.max_tasks_per_dag, refuse=refusing(settings, root))
    store = await open_project_store(root, settings, clock=given)
    try:
        pauses = SourcePauses(store.log, store.ledger, clock=given)
        await pauses.load()
        trigger_pauses = PausedNames(store.log, store.ledger, kind=PausedKind.TRIGGER, clock=given)
        await trigger_pauses.load()
        pools = LivePools(root, settings, store, clock=given)
        await pools.load()
        yield create_application(
            Parts(
                store=store,
                project=lambda: project,
                ingest=HttpIngest(store.log, clock=given, settings=settings, project=lambda: project),
                webhooks=WebhookIngest(store.log, project=lambda: project, clock=given, settings=settings),
                settings=settings,
                clock=given,
                ready=lambda: False,
                statuses=lambda: _statuses(project, pauses),
                pauses=pauses,
                reconcile=reconciler(lambda: project, store.ledger, settings),
                trigger_pauses=trigger_pauses,
                pools=pools,
                reaches=partial(reaches, settings=settings),
                decode_letter=partial(decode_letter, project=lambda: project, settings=settings),
            )
        )
    finally:
        await store.close()


def _statuses(project: Project, pauses: SourcePauses) -> Sequence[Mapping[str, Any]]:
    kinds = [("http", "http"), *((spec.name, _kind(spec)) for spec in project.sources)]
    if any(dag.schedule is not None for dag in project.dags.values()):
        kinds.append(("schedule", "schedule"))
    found = [SourceStatus(name, kind, SourceState.STOPPED, error=_NOT_RUNNING) for name, kind in kinds]
    return [asdict(pauses.shown(status)) for status in found]


def _kind(spec: SourceSpec) -> str:
    match spec:
        case WebhookSource():
            return "webhook"
        case FileSource():
            return "files"
        case KafkaSource():
            return "kafka"
        case ScheduleSource():
            return "schedule"
        case PostgresSource():
            return "postgres"
        case TableSource():
            return "table"
        case PluginSource():
            return spec.kind
        case _:
            assert_never(spec)
