"""`tidemill sources`: where events come from, and taking nothing from them for a while."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tidemill.cli.connection import Target, ask
from tidemill.cli.options import Output, OutputOption, ProjectOption, TokenOption, UrlOption, group
from tidemill.cli.terminal import fields, show_item, show_page, when

__all__ = ["app"]

app = group("Where events come from, and how that is going.")

Name = Annotated[str, typer.Argument(help="Name of the source.", metavar="NAME")]

_PARTITIONS = fields("topic", "partition", "state", "cursor", "begin", "end", "waiting", "lost")
_GAPS = fields("position", "time", "subject", "reason", "expected_offset", "resumed_at_offset")
_COLUMNS = {
    "name": lambda row: row["name"],
    "kind": lambda row: row["kind"],
    "state": lambda row: row["state"],
    "mode": lambda row: row["mode"],
    "accepted": lambda row: row["accepted"],
    "duplicates": lambda row: row["duplicates"],
    "refused": lambda row: row["refused"],
    "lag": lambda row: row["lag"],
    "last event": lambda row: when(row["last_event_at"]),
    "error": lambda row: row["error"],
}


@app.command("list")
def list_sources(
    project: ProjectOption = Path(),
    url: UrlOption = None,
    token: TokenOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List the sources and how they are doing."""
    show_page(ask(Target(project, url, token), lambda server: server.get("sources")), output, _COLUMNS)


@app.command("show")
def show(
    name: Name,
    project: ProjectOption = Path(),
    url: UrlOption = None,
    token: TokenOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show a source and how it is doing."""
    show_item(ask(Target(project, url, token), lambda server: server.get("sources", name)), output)


@app.command("pause")
def pause(
    name: Name,
    project: ProjectOption = Path(),
    url: UrlOption = None,
    token: TokenOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Take nothing from a source until it is resumed, on every node and over restarts."""
    show_item(ask(Target(project, url, token), lambda server: server.post("sources", name, "pause")), output)


@app.command("resume")
def resume(
    name: Name,
    project: ProjectOption = Path(),
    url: UrlOption = None,
    token: TokenOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Let a paused source go on where it stopped."""
    show_item(ask(Target(project, url, token), lambda server: server.post("sources", name, "resume")), output)


@app.command("reconcile")
def reconcile(
    name: Name,
    project: ProjectOption = Path(),
    url: UrlOption = None,
    token: TokenOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Compare a Kafka source with its brokers: what waits, what is lost. Exit code 1 when anything is lost."""
    found = ask(Target(project, url, token), lambda server: server.get("sources", name, "reconcile"))
    show_item(found, output, tables={"partitions": _PARTITIONS, "gaps": _GAPS})
    if not found["is_whole"]:
        raise typer.Exit(1)
