"""`tidemill subscriptions`: where events go, how that is going, and steering of it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tidemill.cli.asking import To, asking
from tidemill.cli.dead_letters import ReasonOption, asker, show_outcome
from tidemill.cli.options import (
    Before,
    Limit,
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
@asking
def list_subscriptions(*, to: To) -> None:
    """List the subscriptions, those of the project first."""
    page = to.ask(lambda server: server.get("subscriptions"))
    show_page(page, to.output, _COLUMNS)


@app.command("show")
@asking
def show(name: Name, *, to: To) -> None:
    """Show a subscription and how far its deliveries are."""
    show_item(to.ask(lambda server: server.get("subscriptions", name)), to.output)


@app.command("log")
@asking
def log(name: Name, before: Before = None, limit: Limit = 50, *, to: To) -> None:
    """List the latest attempts at deliveries of a subscription, newest first."""
    where = {"before": before, "limit": limit}
    page = to.ask(lambda server: server.get("subscriptions", name, "attempts", **where))
    show_page(page, to.output, _ATTEMPTS)


@app.command("pause")
@asking
def pause(name: Name, reason: ReasonOption = "", *, to: To) -> None:
    """Deliver nothing until it is resumed, on every node and over restarts; what it would get stays pending."""
    show_item(_post(to, name, "pause", reason), to.output)


@app.command("resume")
@asking
def resume(name: Name, reason: ReasonOption = "", *, to: To) -> None:
    """Deliver again after a pause."""
    show_item(_post(to, name, "resume", reason), to.output)


@app.command("enable")
@asking
def enable(name: Name, reason: ReasonOption = "", *, to: To) -> None:
    """Deliver again although the receiver has said that it is gone (410)."""
    show_item(_post(to, name, "enable", reason), to.output)


@app.command("redrive")
@asking
def redrive(name: Name, reason: ReasonOption = "", *, to: To) -> None:
    """Deliver again what was given up for a subscription: its open dead letters."""
    show_outcome(_post(to, name, "redrive", reason), to.output)


@app.command("rotate")
@asking
def rotate(
    name: Name,
    overlap: Annotated[
        float, typer.Option("--overlap", min=0, help="Seconds for which the secret before it signs, too.")
    ] = 86_400,
    *,
    to: To,
) -> None:
    """Make a new signing secret for a subscription made by API, and show it this once."""
    body = {"overlap_seconds": overlap}
    show_item(to.ask(lambda server: server.post("subscriptions", name, "secrets", body=body)), to.output)


def _post(to: To, name: str, what: str, reason: str) -> Any:
    body = {"by": asker(), "reason": reason}
    return to.ask(lambda server: server.post("subscriptions", name, what, body=body))
