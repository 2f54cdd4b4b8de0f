"""Which sources and sinks a project asks for, built from its definitions."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, assert_never

from tidemill.clock import Clock
from tidemill.keeping.archive import Archive, open_archive
from tidemill.keeping.retention import Limits
from tidemill.project.model import (
    FileSource,
    KafkaSink,
    KafkaSource,
    PluginSource,
    PostgresSource,
    Project,
    ScheduleSource,
    Subscription,
    TableSource,
    WebhookSink,
    WebhookSource,
)
from tidemill.service.build_database import replication_source, table_source
from tidemill.service.build_kafka import kafka_source, sink_security
from tidemill.service.sinks import webhook_sink
from tidemill.settings import Settings
from tidemill.sinks.contract import Sink
from tidemill.sinks.secrets import read_secret
from tidemill.sources.checked import checked
from tidemill.sources.contract import Source, SourceStatus
from tidemill.sources.pauses import PausableSource, SourcePauses
from tidemill.sources.plugin import Surroundings
from tidemill.storage.contract import Store

if TYPE_CHECKING:
    from tidemill.sinks.kafka import KafkaProducer

__all__ = ["Outlets", "build_outlets", "build_sources", "open_project_archive", "retention_limits"]


def build_sources(
    project: Project,
    store: Store,
    *,
    clock: Clock,
    settings: Settings,
    pauses: SourcePauses,
    current: Callable[[], Project] | None = None,
) -> tuple[list[Source], list[SourceStatus]]:
    """Sources to run while they are not paused, and what to show for those that cannot run with these settings.

    `current` is the project as it is at any time, whose schemas hold; `project` without it.
    """
    sources: list[Source] = []
    off: list[SourceStatus] = []
    log = checked(store.log, lambda: (current() if current else project).door, clock=clock)
    for spec in project.sources:
        match spec:
            case FileSource():
                from tidemill.sources.files.source import FileSourceStage

                sources.append(
                    FileSourceStage(
                        spec,
                        log,
                        store.ledger,
                        clock=clock,
                        scan_seconds=settings.file_scan_seconds,
                        runs=store.runs,
                    )
                )
            case KafkaSource():
                built = kafka_source(
                    spec, log, store.ledger, clock=clock, settings=settings, root=project.root
                )
                if isinstance(built, SourceStatus):
                    off.append(built)
                else:
                    sources.append(built)
            case ScheduleSource():
                from tidemill.sources.schedule import NamedScheduleStage

                sources.append(NamedScheduleStage(spec, log, store.ledger, clock=clock))
            case PostgresSource():
                sources.append(replication_source(spec, log, store.ledger, clock=clock, root=project.root))
            case TableSource():
                sources.append(table_source(spec, log, store.ledger, clock=clock, root=project.root))
            case PluginSource():
                around = Surroundings(log=log, ledger=store.ledger, clock=clock, root=project.root)
                sources.append(spec.plugin.build(spec.name, spec.config, around))
            case WebhookSource():
                pass  # served by the HTTP server
            case _:
                assert_never(spec)
    scheduled = [dag for dag in project.dags.values() if dag.schedule is not None]
    if scheduled:
        from tidemill.sources.schedule import ScheduleSourceStage

        sources.append(ScheduleSourceStage(scheduled, log, store.ledger, clock=clock))
    return [PausableSource(source, pauses) for source in sources], off


@dataclass(slots=True)
class Outlets:
    """Sinks by subscription, and what must be closed after them."""

    subscriptions: Sequence[Subscription]
    sinks: dict[str, Sink]
    #: The one that all Kafka sinks share.
    producer: KafkaProducer | None = None

    async def close(self) -> None:
        """Let go of all connections."""
        for sink in self.sinks.values():
            await sink.close()
        if self.producer is not None:
            await self.producer.close()


def build_outlets(
    project: Project,
    *,
    clock: Clock,
    settings: Settings,
    only: Collection[str] | None = None,
    producer: KafkaProducer | None = None,
) -> Outlets:
    """One sink for each subscription, or those of `only`; raises `SettingsError` for a secret that cannot be read.

    `producer` is the one that Kafka sinks share, where there is one already.
    """
    sinks: dict[str, Sink] = {}
    for subscription in project.subscriptions:
        if only is not None and subscription.name not in only:
            continue
        spec = subscription.sink
        match spec:
            case WebhookSink():
                secrets = [spec.secret] if spec.secret is not None else [*spec.secrets]
                values = [read_secret(one, project.root) for one in secrets]
                sinks[subscription.name] = webhook_sink(spec, values, clock=clock, settings=settings)
            case KafkaSink():
                if settings.kafka_bootstrap_servers is None:
                    continue
                # Imported only where there is a broker: the client costs a third of a second.
                from tidemill.sinks.kafka import KafkaProducer, KafkaSinkDelivery

                producer = producer or KafkaProducer(
                    settings.kafka_bootstrap_servers,
                    security=sink_security(settings, project.root),
                    timeout_seconds=settings.delivery_timeout_seconds,
                )
                sinks[subscription.name] = KafkaSinkDelivery(spec, producer)
            case _:
                assert_never(spec)
    return Outlets(project.subscriptions, sinks, producer)


def open_project_archive(root: Path, settings: Settings) -> Archive | None:
    """Where dropped events go; None when they are gone for good. Raises `SettingsError` for what cannot be used."""
    return None if settings.archive_url is None else open_archive(settings.archive_url, root)


def retention_limits(settings: Settings) -> Limits:
    """How much of the past the settings keep."""
    return Limits(
        days=settings.retention_days or None,
        size=settings.retention_bytes,
        dedupe_days=settings.dedupe_days,
        undelivered_days=settings.undelivered_days or None,
    )
