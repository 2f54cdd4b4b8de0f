"""Sources that read other databases; their drivers are imported only where there is such a source."""

from __future__ import annotations

from pathlib import Path

from tidemill.clock import Clock
from tidemill.errors import SettingsError
from tidemill.project.model import PostgresSource, TableSource
from tidemill.sinks.secrets import read_secret
from tidemill.sources.contract import Source
from tidemill.storage.contract import EventLog, Ledger

__all__ = ["replication_source", "table_source"]


def replication_source(
    spec: PostgresSource, log: EventLog, ledger: Ledger, *, clock: Clock, root: Path
) -> Source:
    """Raises `SettingsError` for a secret that cannot be read, or without the driver."""
    try:
        from tidemill.sources.database.replication import Replication, ReplicationStage
    except ImportError as error:
        raise SettingsError("a postgres source needs an extra: pip install 'tidemill[postgres]'") from error
    followed = Replication(
        name=spec.name,
        url=read_secret(spec.url, root),
        tables=spec.tables,
        operations=spec.operations,
        slot=spec.slot,
        publication=spec.publication,
        event_type=spec.event_type,
        event_source=spec.event_source,
        every_seconds=spec.every.total_seconds(),
    )
    return ReplicationStage(followed, log, ledger, clock=clock)


def table_source(spec: TableSource, log: EventLog, ledger: Ledger, *, clock: Clock, root: Path) -> Source:
    """Raises `SettingsError` for a secret or a URL that cannot be used, or without the driver."""
    from tidemill.sources.database.polling import Polling, PollingStage

    asked = Polling(
        name=spec.name,
        url=read_secret(spec.url, root),
        table=spec.table,
        column=spec.column,
        key=spec.key,
        is_outbox=spec.is_outbox,
        from_beginning=spec.from_beginning,
        overlap=spec.overlap,
        event_type=spec.event_type,
        event_source=spec.event_source,
        every_seconds=spec.every.total_seconds(),
        batch=spec.batch,
    )
    return PollingStage(asked, log, ledger, clock=clock)
