"""`tidemill subscriptions`: where events go, how that is going, and steering of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tidemill.cli.connection import Target, ask
from tidemill.cli.dead_letters import ReasonOption, asker, show_outcome
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

app = group("Where events go, and how that is going.")

Name = Annotated[str, typer.Argument(help="Name or id of the subscription.", metavar="NAME")]

_COLUMNS = {
    "name": lambda row: row["name"],
    "origin": lambda row: row["origin"],
    "state": lambda row: row["state"],
    "sink": lambda row: row["sink"],
    "target": lambda row: row["target"],
    "ordered": lambda row: row["ordered"],
    "reason": lambda row: row["reason"],
}
_ATTEMPTS = {
    "number": lambda row: row["number"],
    "at": lambda row: when(row["at"]),
    "position": lambda row: row["position"],
    "attempt": lambda row: row["attempt"],
    "outcome": lambda row: row["outcome"],
    "status": lambda row: row["status"],
    "ms": lambda row: row["duration_ms"],
    "error": lambda row: row["error"],
}


@app.command("list")
def list_subscriptions(
    project: ProjectOption = Path(),
    url: UrlOption = None,
    token: TokenOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List the subscriptions, those of the project first."""
    page = ask(Target(project, url, token), lambda server: server.get("subscriptions"))
    show_page(page, output, _COLUMNS)


@app.command("show")
def show(
    name: Name,
    project: ProjectOption = Path(),
    url: UrlOption = None,
    token: TokenOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show a subscription and how far its deliveries are."""
    show_item(ask(Target(project, url, token), lambda server: server.get("subscriptions", name)), output)


@app.command("log")
def log(
    name: Name,
    before: Before = None,
    limit: Limit = 50,
    project: ProjectOption = Path(),
    url: UrlOption = None,
    token: TokenOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List the latest attempts at deliveries of a subscription, newest first."""
    where = {"before": before, "limit": limit}
    page = ask(
        Target(project, url, token), lambda server: server.get("subscriptions", name, "attempts", **where)
    )
    show_page(page, output, _ATTEMPTS)


@app.command("pause")
def pause(
    name: Name,
    reason: ReasonOption = "",
    project: ProjectOption = Path(),
    url: UrlOption = None,
    token: TokenOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Deliver nothing until it is resumed, on every node and over restarts; what it would get stays pending."""
    show_item(_post(Target(project, url, token), name, "pause", reason), output)


@app.command("resume")
def resume(
    name: Name,
    reason: ReasonOption = "",
    project: ProjectOption = Path(),
    url: UrlOption = None,
    token: TokenOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Deliver again after a pause."""
    show_item(_post(Target(project, url, token), name, "resume", reason), output)


@app.command("enable")
def enable(
    name: Name,
    reason: ReasonOption = "",
    project: ProjectOption = Path(),
    url: UrlOption = None,
    token: TokenOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Deliver again although the receiver has said that it is gone (410)."""
    show_item(_post(Target(project, url, token), name, "enable", reason), output)


@app.command("redrive")
def redrive(
    name: Name,
    reason: ReasonOption = "",
    project: ProjectOption = Path(),
    url: UrlOption = None,
    token: TokenOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Deliver again what was given up for a subscription: its open dead letters."""
    show_outcome(_post(Target(project, url, token), name, "redrive", reason), output)


@app.command("rotate")
def rotate(
    name: Name,
    overlap: Annotated[
        float, typer.Option("--overlap", min=0, help="Seconds for which the secret before it signs, too.")
    ] = 86_400,
    project: ProjectOption = Path(),
    url: UrlOption = None,
    token: TokenOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Make a new signing secret for a subscription made by API, and show it this once."""
    body = {"overlap_seconds": overlap}
    target = Target(project, url, token)
    show_item(ask(target, lambda server: server.post("subscriptions", name, "secrets", body=body)), output)


def _post(target: Target, name: str, what: str, reason: str) -> Any:
    body = {"by": asker(), "reason": reason}
    return ask(target, lambda server: server.post("subscriptions", name, what, body=body))
