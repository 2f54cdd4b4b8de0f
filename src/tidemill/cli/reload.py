"""`tidemill reload`: the running server reads the project's folders now."""

from __future__ import annotations

from pathlib import Path

import typer

from tidemill.cli.connection import Target, ask
from tidemill.cli.options import Output, OutputOption, ProjectOption, TokenOption, UrlOption
from tidemill.cli.terminal import clean, print_json

__all__ = ["reload"]


def reload(
    project: ProjectOption = Path(),
    url: UrlOption = None,
    token: TokenOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Read the folders now and make what they say live; a wrong edit changes nothing, and ends with exit code 1."""
    found = ask(Target(project, url, token), lambda server: server.post("project", "reload"))
    if output is Output.JSON:
        print_json(found)
    else:
        typer.echo(f"version {found['version']} is live")
        for one in found["problems"]:
            place = f"{one['file']}:{one['line']}" if one["line"] else one["file"]
            typer.echo(clean(f"error: {place}: {one['message']}"), err=True)
    if found["problems"]:
        raise typer.Exit(1)
