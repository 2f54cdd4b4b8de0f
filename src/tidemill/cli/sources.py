"""`tidemill sources`: where events come from, and taking nothing from them for a while."""

from __future__ import annotations

from typing import Annotated

import typer

from tidemill.cli.asking import To, asking
from tidemill.cli.options import group
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
@asking
def list_sources(*, to: To) -> None:
    """List the sources and how they are doing."""
    show_page(to.ask(lambda server: server.get("sources")), to.output, _COLUMNS)


@app.command("show")
@asking
def show(name: Name, *, to: To) -> None:
    """Show a source and how it is doing."""
    show_item(to.ask(lambda server: server.get("sources", name)), to.output)


@app.command("pause")
@asking
def pause(name: Name, *, to: To) -> None:
    """Take nothing from a source until it is resumed, on every node and over restarts."""
    show_item(to.ask(lambda server: server.post("sources", name, "pause")), to.output)


@app.command("resume")
@asking
def resume(name: Name, *, to: To) -> None:
    """Let a paused source go on where it stopped."""
    show_item(to.ask(lambda server: server.post("sources", name, "resume")), to.output)


@app.command("reconcile")
@asking
def reconcile(name: Name, *, to: To) -> None:
    """Compare a Kafka source with its brokers: what waits, what is lost. Exit code 1 when anything is lost."""
    found = to.ask(lambda server: server.get("sources", name, "reconcile"))
    show_item(found, to.output, tables={"partitions": _PARTITIONS, "gaps": _GAPS})
    if not found["is_whole"]:
        raise typer.Exit(1)
