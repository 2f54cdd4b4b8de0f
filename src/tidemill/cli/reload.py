"""`tidemill reload`: the running server reads the project's folders now."""

from __future__ import annotations

import typer

from tidemill.cli.asking import To, asking
from tidemill.cli.options import Output
from tidemill.cli.terminal import clean, print_json

__all__ = ["reload"]


@asking
def reload(*, to: To) -> None:
    """Read the folders now and make what they say live; a wrong edit changes nothing, and ends with exit code 1."""
    found = to.ask(lambda server: server.post("project", "reload"))
    if to.output is Output.JSON:
        print_json(found)
    else:
        typer.echo(f"version {found['version']} is live")
        for one in found["problems"]:
            place = f"{one['file']}:{one['line']}" if one["line"] else one["file"]
            typer.echo(clean(f"error: {place}: {one['message']}"), err=True)
    if found["problems"]:
        raise typer.Exit(1)
