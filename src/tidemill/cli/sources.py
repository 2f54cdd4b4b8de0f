"""`tidemill sources`: where events come from."""

from __future__ import annotations

from pathlib import Path

from tidemill.cli.connection import Target, ask
from tidemill.cli.options import Output, OutputOption, ProjectOption, TokenOption, UrlOption, group
from tidemill.cli.terminal import show_page, when

__all__ = ["app"]

app = group("Where events come from, and how that is going.")

_COLUMNS = {
    "name": lambda row: row["name"],
    "kind": lambda row: row["kind"],
    "state": lambda row: row["state"],
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
