"""Which database the settings name, opened for this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tidemill.clock import Clock
from tidemill.errors import SettingsError
from tidemill.settings import Settings
from tidemill.storage.contract import Store
from tidemill.storage.limits import Limits
from tidemill.storage.sqlite import open_store

if TYPE_CHECKING:
    from tidemill.storage.claims import EventData
    from tidemill.storage.postgres import PostgresStore

__all__ = ["database_path", "is_shared", "open_postgres", "open_project_store", "project_name"]

_POSTGRES = ("postgresql://", "postgres://")


def is_shared(settings: Settings) -> bool:
    """True when the database is one that several nodes may share."""
    return settings.database.startswith(_POSTGRES)


def project_name(root: Path, settings: Settings) -> str:
    """What the project is called in a shared database."""
    return settings.project_name or root.resolve().name


def database_path(root: Path, settings: Settings) -> Path:
    """Where the project's SQLite file is; raises `SettingsError` for another kind of database."""
    kind, _, place = settings.database.partition(":")
    if kind != "sqlite" or not place:
        raise SettingsError(
            f"database: {kind or 'nothing'}:... is neither sqlite:PATH nor postgresql://USER:PASSWORD@HOST:PORT/NAME"
        )
    return root / place


async def open_project_store(
    root: Path, settings: Settings, *, clock: Clock, probe: Callable[[str], None] | None = None
) -> Store:
    """The project's store: for this process alone on SQLite, beside other nodes on PostgreSQL."""
    if is_shared(settings):
        return await open_postgres(root, settings, clock=clock, probe=probe)
    return await open_store(
        database_path(root, settings),
        clock=clock,
        limits=_limits(settings),
        probe=probe,
        data=_data(settings),
    )


async def open_postgres(
    root: Path, settings: Settings, *, clock: Clock, probe: Callable[[str], None] | None = None
) -> PostgresStore:
    """The shared store, which owns no shard until its membership begins; raises `SettingsError` as it says."""
    try:
        from tidemill.storage.postgres import open_store as open_shared
    except ModuleNotFoundError as error:
        if error.name != "asyncpg":
            raise
        raise SettingsError("database: PostgreSQL needs an extra; install tidemill[postgres]") from None
    return await open_shared(
        settings.database,
        clock=clock,
        project=project_name(root, settings),
        limits=_limits(settings),
        probe=probe,
        data=_data(settings),
    )


def _data(settings: Settings) -> EventData | None:
    if settings.claim_check_url is None:
        return None
    from tidemill.storage.claims import EventData

    return EventData(settings.claim_check_url, above=settings.dataref_bytes)


def _limits(settings: Settings) -> Limits:
    return Limits(
        backlog=settings.backlog_limit,
        write_queue=settings.write_queue_limit,
        min_free_disk_bytes=settings.min_free_disk_bytes,
    )
