"""`tidemill nodes`: who works on the database."""

from __future__ import annotations

from tidemill.cli.asking import To, asking
from tidemill.cli.options import group
from tidemill.cli.terminal import show_page

__all__ = ["app"]

app = group("Who works on a shared database, and how much.")

_COLUMNS = {
    "name": lambda row: row["name"],
    "url": lambda row: row["url"],
    "shards": lambda row: row["shards"],
    "draining": lambda row: "yes" if row["draining"] else "no",
    "silent": lambda row: f"{row['silent_seconds']:.1f} s",
    "live runs": lambda row: row["load"].get("live_runs"),
    "running tasks": lambda row: row["load"].get("running_tasks"),
    "waiting tasks": lambda row: row["load"].get("waiting_tasks"),
    "unrouted": lambda row: row["load"].get("unrouted_events"),
}


@app.command("list")
@asking
def list_nodes(*, to: To) -> None:
    """List the nodes with their shards and load; none are listed where one process has the database to itself."""
    show_page(to.ask(lambda server: server.get("nodes")), to.output, _COLUMNS)
