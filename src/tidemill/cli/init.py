"""`tidemill init`: a new project that works as it is. What it consists of lies in the folder `template`."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tidemill.cli.failures import CommandFailed, UsageFailed, failures_reported
from tidemill.cli.terminal import clean

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

__all__ = ["init"]

#: Ends the names of files that would mean something to tools where the template lies.
_SUFFIX = ".in"


def init(
    folder: Annotated[Path, typer.Argument(help="Folder of the new project.", metavar="DIR")],
    force: Annotated[
        bool, typer.Option("--force", help="Write into a folder that is not empty; files that exist stay.")
    ] = False,
) -> None:
    """Make a new project with a first DAG, its trigger, tests, and a CI file."""
    from tidemill.project import publish

    with failures_reported():
        if folder.exists() and not folder.is_dir():
            raise UsageFailed(f"{folder} is a file")
        if not force and folder.is_dir() and any(folder.iterdir()):
            raise UsageFailed(f"{folder} is not empty; --force adds what is missing and leaves what is there")
        try:
            _copy(resources.files("tidemill.cli") / "template", folder)
            publish.write(folder / "schemas")
        except OSError as error:
            place = error.filename or folder
            raise CommandFailed(f"{place} cannot be written: {error.strerror or error}") from None
    typer.echo(f"made a project in {clean(folder)}; next: tidemill serve --project {clean(folder)}")


def _copy(template: Traversable, folder: Path) -> None:
    """What `template` holds, into `folder`, leaving every file that is there."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in template.iterdir():
        place = folder / part.name.removesuffix(_SUFFIX)
        if part.is_dir():
            _copy(part, place)
        elif not place.exists():
            place.write_bytes(part.read_bytes())
