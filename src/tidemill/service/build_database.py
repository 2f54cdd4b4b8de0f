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
        from tidemill.sources.database.replication import ReplicationStage
    except ImportError as error:
        raise SettingsError("a postgres source needs an extra: pip install 'tidemill[postgres]'") from error
    return ReplicationStage(spec, read_secret(spec.url, root), log, ledger, clock=clock)


def table_source(spec: TableSource, log: EventLog, ledger: Ledger, *, clock: Clock, root: Path) -> Source:
    """Raises `SettingsError` for a secret or a URL that cannot be used, or without the driver."""
    from tidemill.sources.database.polling import PollingStage

    return PollingStage(spec, read_secret(spec.url, root), log, ledger, clock=clock)
