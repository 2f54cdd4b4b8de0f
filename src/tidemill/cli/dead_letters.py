"""`tidemill dlq`: what could not go on, and what to do about it."""

from __future__ import annotations

import base64
import getpass
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from tidemill.cli.asking import To, asking
from tidemill.cli.failures import UsageFailed, failures_reported
from tidemill.cli.options import (
    Before,
    Limit,
    Output,
    group,
)
from tidemill.cli.terminal import complain_outcome, show_item, show_page, when

__all__ = ["ReasonOption", "app", "asker", "show_outcome"]

app = group("Dead letters: what could not go on, and what to do about it.")

_COLUMNS = {
    "id": lambda row: row["id"],
    "at": lambda row: when(row["at"]),
    "stage": lambda row: row["stage"],
    "origin": lambda row: row["origin"],
    "code": lambda row: row["code"],
    "state": lambda row: row["state"],
    "detail": lambda row: row["detail"],
    "position": lambda row: row["position"],
}
_ACTIONS = {
    "number": lambda row: row["number"],
    "at": lambda row: when(row["at"]),
    "by": lambda row: row["by"],
    "kind": lambda row: row["kind"],
    "reason": lambda row: row["reason"],
}

LetterId = Annotated[str, typer.Argument(help="Id of the dead letter.", metavar="ID")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why, for the record.")]
StageOption = Annotated[
    str | None, typer.Option("--stage", help="Only those of http, kafka, files, routing or delivery.")
]
CodeOption = Annotated[str | None, typer.Option("--code", help="Only those with this reason.")]
OriginOption = Annotated[
    str | None, typer.Option("--origin", help="Only those of this source, trigger or subscription.")
]


@app.command("list")
@asking
def list_dead_letters(
    stage: StageOption = None,
    state: Annotated[
        str | None, typer.Option("--state", help="Only those that are open, redriven or discarded.")
    ] = None,
    code: CodeOption = None,
    origin: OriginOption = None,
    before: Before = None,
    limit: Limit = 50,
    *,
    to: To,
) -> None:
    """List dead letters, newest first."""
    where = {
        "stage": stage,
        "state": state,
        "code": code,
        "origin": origin,
        "before": before,
        "limit": limit,
    }
    page = to.ask(lambda server: server.get("dead-letters", **where))
    show_page(page, to.output, _COLUMNS)


@app.command("show")
@asking
def show(
    letter_id: LetterId,
    raw: Annotated[
        bool, typer.Option("--raw", help="Write the bytes of the newest version and nothing else.")
    ] = False,
    *,
    to: To,
) -> None:
    """Show a dead letter with the bytes it came as (base64) and what was done with it."""
    letter = to.ask(lambda server: server.get("dead-letters", letter_id))
    if raw:
        sys.stdout.buffer.write(base64.b64decode(letter["current"]))
        return
    _show(letter, to.output)


@app.command("edit")
@asking
def edit(
    letter_id: LetterId,
    patch: Annotated[
        str, typer.Option("--patch", help="File with a JSON Patch (RFC 6902); - reads standard input.")
    ],
    reason: ReasonOption = "",
    *,
    to: To,
) -> None:
    """Change the event of a dead letter; the result is checked as every event is, and the original kept."""
    with failures_reported():
        content = _read(patch)
    letter = to.ask(
        lambda server: server.patch("dead-letters", letter_id, content=content, by=asker(), reason=reason),
    )
    _show(letter, to.output)


@app.command("redrive")
@asking
def redrive(
    letter_id: Annotated[str | None, typer.Argument(help="Id of the dead letter.", metavar="[ID]")] = None,
    every: Annotated[
        bool, typer.Option("--all", help="All open ones, or those that the options name.")
    ] = False,
    stage: StageOption = None,
    code: CodeOption = None,
    origin: OriginOption = None,
    reason: ReasonOption = "",
    limit: Limit = 100,
    *,
    to: To,
) -> None:
    """Send a dead letter, or all that are named, through the stage where it stopped."""
    chosen = {"stage": stage, "code": code, "origin": origin}
    _one_or_all(to, "redrive", letter_id, every, chosen, reason, limit)


@app.command("discard")
@asking
def discard(
    reason: Annotated[str, typer.Option("--reason", help="Why, for the record; required.")],
    letter_id: Annotated[str | None, typer.Argument(help="Id of the dead letter.", metavar="[ID]")] = None,
    every: Annotated[
        bool, typer.Option("--all", help="All open ones, or those that the options name.")
    ] = False,
    stage: StageOption = None,
    code: CodeOption = None,
    origin: OriginOption = None,
    limit: Limit = 100,
    *,
    to: To,
) -> None:
    """Say that nothing more is to come of a dead letter; it stays listed as discarded."""
    chosen = {"stage": stage, "code": code, "origin": origin}
    _one_or_all(to, "discard", letter_id, every, chosen, reason, limit)


def asker() -> str:
    """Who sits at this command line, for the record."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "cli"


def show_outcome(outcome: Mapping[str, Any], output: Output) -> None:
    """What came of many; exit code 1 when it could not be done to some."""
    complain_outcome(outcome, output)
    if outcome["failed"]:
        raise typer.Exit(1)


def _one_or_all(
    to: To,
    what: str,
    letter_id: str | None,
    every: bool,
    chosen: Mapping[str, str | None],
    reason: str,
    limit: int,
) -> None:
    given = {name: value for name, value in chosen.items() if value is not None}
    with failures_reported():
        if letter_id is None and not every and not given:
            raise UsageFailed("name a dead letter, or --all, --stage, --code or --origin")
        if letter_id is not None and (every or given):
            raise UsageFailed("name either one dead letter or what many have in common")
    body: dict[str, Any] = {"by": asker(), "reason": reason}
    if letter_id is not None:
        path = ("dead-letters", letter_id, what)
        _show(to.ask(lambda server: server.post(*path, body=body)), to.output)
        return
    body |= {**given, "limit": limit}
    show_outcome(to.ask(lambda server: server.post(f"{what}s", body=body)), to.output)


def _show(letter: Mapping[str, Any], output: Output) -> None:
    show_item(letter, output, tables={"actions": _ACTIONS})


def _read(patch: str) -> bytes:
    if patch == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(patch).read_bytes()
    except OSError as error:
        raise UsageFailed(f"--patch: {patch} cannot be read ({error.strerror})") from None
