"""Which sources and sinks a project asks for, built from its definitions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, assert_never

from tidemill.clock import Clock
from tidemill.project.model import (
    FileSource,
    KafkaSink,
    KafkaSource,
    Project,
    Subscription,
    WebhookSink,
    WebhookSource,
)
from tidemill.settings import Settings
from tidemill.sinks.contract import Sink
from tidemill.sinks.secrets import read_secret
from tidemill.sources.contract import Source, SourceState, SourceStatus
from tidemill.storage.contract import Store

if TYPE_CHECKING:
    from tidemill.sinks.kafka import KafkaProducer

__all__ = ["Outlets", "build_outlets", "build_sources"]

_NO_BROKER = "no broker is configured (kafka_bootstrap_servers)"


def build_sources(
    project: Project, store: Store, *, clock: Clock, settings: Settings
) -> tuple[list[Source], list[SourceStatus]]:
    """Sources to run, and what to show for those that cannot run with these settings."""
    sources: list[Source] = []
    off: list[SourceStatus] = []
    for spec in project.sources:
        match spec:
            case FileSource():
                from tidemill.sources.files.source import FileSourceStage

                sources.append(
                    FileSourceStage(
                        spec, store.log, store.ledger, clock=clock, scan_seconds=settings.file_scan_seconds
                    )
                )
            case KafkaSource():
                if settings.kafka_bootstrap_servers is None:
                    off.append(SourceStatus(spec.name, "kafka", SourceState.STOPPED, error=_NO_BROKER))
                    continue
                from tidemill.sources.kafka.stage import KafkaSourceStage

                sources.append(
                    KafkaSourceStage(
                        spec,
                        store.log,
                        store.ledger,
                        clock=clock,
                        bootstrap_servers=settings.kafka_bootstrap_servers,
                        max_body_bytes=settings.max_body_bytes,
                    )
                )
            case WebhookSource():
                pass  # served by the HTTP server
            case _:
                assert_never(spec)
    scheduled = [dag for dag in project.dags.values() if dag.schedule is not None]
    if scheduled:
        from tidemill.sources.schedule import ScheduleSourceStage

        sources.append(ScheduleSourceStage(scheduled, store.log, store.ledger, clock=clock))
    return sources, off


@dataclass(slots=True)
class Outlets:
    """Sinks by subscription, and what must be closed after them."""

    subscriptions: Sequence[Subscription]
    sinks: Mapping[str, Sink]
    #: The one that all Kafka sinks share.
    producer: KafkaProducer | None = None

    async def close(self) -> None:
        """Let go of all connections."""
        for sink in self.sinks.values():
            await sink.close()
        if self.producer is not None:
            await self.producer.close()


def build_outlets(project: Project, *, clock: Clock, settings: Settings) -> Outlets:
    """One sink for each subscription; raises `SettingsError` for a secret that cannot be read."""
    from tidemill.sinks.webhook import WebhookSinkDelivery

    sinks: dict[str, Sink] = {}
    producer: KafkaProducer | None = None
    for subscription in project.subscriptions:
        spec = subscription.sink
        match spec:
            case WebhookSink():
                secret = None if spec.secret is None else read_secret(spec.secret, project.root)
                sinks[subscription.name] = WebhookSinkDelivery(
                    spec, secret, timeout_seconds=settings.delivery_timeout_seconds, clock=clock
                )
            case KafkaSink():
                if settings.kafka_bootstrap_servers is None:
                    continue
                # Imported only where there is a broker: the client costs a third of a second.
                from tidemill.sinks.kafka import KafkaProducer, KafkaSinkDelivery

                producer = producer or KafkaProducer(settings.kafka_bootstrap_servers)
                sinks[subscription.name] = KafkaSinkDelivery(spec, producer)
            case _:
                assert_never(spec)
    return Outlets(project.subscriptions, sinks, producer)
