"""`tidemill migrate`: bring the database to the newest form, or move a project from SQLite to PostgreSQL."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tidemill.cli.failures import failures_reported
from tidemill.cli.options import ProjectOption

if TYPE_CHECKING:
    from tidemill.settings import Settings

__all__ = ["migrate"]


def migrate(
    project: ProjectOption = Path(),
    source: Annotated[
        Path | None,
        typer.Option(
            "--from", help="SQLite file whose whole state is copied into the (empty) PostgreSQL database."
        ),
    ] = None,
) -> None:
    """Bring the project's database to the newest form; with --from, copy a SQLite database into it first.

    A copy that was interrupted goes on where it stopped when it is asked for again.
    """
    with failures_reported():
        from tidemill.settings import load

        asyncio.run(_migrate(project.resolve(), load(project), source))


async def _migrate(root: Path, settings: Settings, source: Path | None) -> None:
    from tidemill.clock import SystemClock
    from tidemill.errors import SettingsError
    from tidemill.service.database import is_shared, open_project_store, project_name

    if source is not None:
        if not is_shared(settings):
            raise SettingsError("--from copies into PostgreSQL; set database to postgresql://...")
        from tidemill.storage.transfer import transfer

        def tell(table: str, rows: int) -> None:
            typer.echo(f"{table}: {rows} rows", err=True)

        counts = await transfer(source, settings.database, project=project_name(root, settings), tell=tell)
        typer.echo(f"copied {sum(counts.values())} rows of {len(counts)} tables; every table was compared")
        return
    store = await open_project_store(root, settings, clock=SystemClock())
    await store.close()
    typer.echo("the database has the newest form")
