"""`tidemill dlq`: what could not go on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tidemill.cli.connection import Target, ask
from tidemill.cli.options import (
    Before,
    Limit,
    Output,
    OutputOption,
    ProjectOption,
    TokenOption,
    UrlOption,
    group,
)
from tidemill.cli.terminal import show_item, show_page, when

__all__ = ["app"]

app = group("Dead letters: what could not go on.")

_COLUMNS = {
    "id": lambda row: row["id"],
    "at": lambda row: when(row["at"]),
    "stage": lambda row: row["stage"],
    "origin": lambda row: row["origin"],
    "code": lambda row: row["code"],
    "detail": lambda row: row["detail"],
    "position": lambda row: row["position"],
}


@app.command("list")
def list_dead_letters(
    stage: Annotated[
        str | None, typer.Option("--stage", help="Only those of http, kafka, files, routing or delivery.")
    ] = None,
    before: Before = None,
    limit: Limit = 50,
    project: ProjectOption = Path(),
    url: UrlOption = None,
    token: TokenOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List dead letters, newest first."""
    where = {"stage": stage, "before": before, "limit": limit}
    page = ask(Target(project, url, token), lambda server: server.get("dead-letters", **where))
    show_page(page, output, _COLUMNS)


@app.command("show")
def show(
    letter_id: Annotated[str, typer.Argument(help="Id of the dead letter.", metavar="ID")],
    project: ProjectOption = Path(),
    url: UrlOption = None,
    token: TokenOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show a dead letter with the bytes it came as (base64)."""
    show_item(ask(Target(project, url, token), lambda server: server.get("dead-letters", letter_id)), output)
