"""`tidemill pools`: what tasks contend for, and how much of it they may have."""

from __future__ import annotations

from typing import Annotated

import typer

from tidemill.cli.asking import To, asking
from tidemill.cli.options import group
from tidemill.cli.terminal import fields, show_item, show_page

__all__ = ["app"]

app = group("What tasks contend for: slots of pools, and this machine's resources.")

Name = Annotated[str, typer.Argument(help="Name of the pool.", metavar="NAME")]

_COLUMNS = {
    "name": lambda row: row["name"],
    "slots": lambda row: "no limit" if row["slots"] is None else row["slots"],
    **fields("used", "queued", "started", "weight", "sharing"),
    "set by": lambda row: row["set_by"],
}


@app.command("list")
@asking
def list_pools(*, to: To) -> None:
    """List the pools: slots, what of them is in use, and how many tasks wait."""
    show_page(to.ask(lambda server: server.get("pools")), to.output, _COLUMNS)


@app.command("set")
@asking
def set_pool(
    name: Name,
    slots: Annotated[int, typer.Argument(min=0, help="Slots that may be taken at once; 0 pauses it.")],
    by: Annotated[str, typer.Option("--by", help="Who says so.")] = "cli",
    *,
    to: To,
) -> None:
    """Let so many slots of a pool be taken from now on, on every node and over restarts."""
    show_item(to.ask(lambda server: server.put("pools", name, body={"slots": slots, "by": by})), to.output)


@app.command("reset")
@asking
def reset_pool(name: Name, *, to: To) -> None:
    """Let the settings say again how many slots a pool has."""
    show_item(to.ask(lambda server: server.delete("pools", name)), to.output)


@app.command("resources")
@asking
def list_resources(*, to: To) -> None:
    """List what the server's machine has for tasks, and what of it is in use."""
    show_page(to.ask(lambda server: server.get("resources")), to.output, fields("name", "total", "used"))
