"""`tidemill events`: post events, read the log."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from tidemill.cli.asking import To, asking
from tidemill.cli.failures import UsageFailed, failures_reported
from tidemill.cli.options import (
    Limit,
    Output,
    group,
)
from tidemill.cli.server import Server
from tidemill.cli.terminal import fields, note, print_json, show_item, show_page, when

__all__ = ["app"]

app = group("Post events and read the log.")

_STRUCTURED = "application/cloudevents+json"
_BATCH = "application/cloudevents-batch+json"
_STDIN = "-"
_COLUMNS = {
    "position": lambda row: row["position"],
    "received": lambda row: when(row["received_at"]),
    "type": lambda row: row["event"]["type"],
    "source": lambda row: row["event"]["source"],
    "subject": lambda row: row["event"].get("subject"),
    "id": lambda row: row["event"]["id"],
}
_DISPOSITIONS = fields("trigger", "kind", "run", "detail")
_HELD = fields("trigger", "stage", "key")
_DELIVERIES = fields("subscription", "state", "attempts", "detail")


@app.command("send", short_help="Post events.")
@asking
def send(
    type: Annotated[str | None, typer.Option("--type", "-t", help="What happened.")] = None,  # noqa: A002
    source: Annotated[str, typer.Option("--source", "-s", help="Who says so.")] = "/cli",
    subject: Annotated[str | None, typer.Option("--subject", help="What it happened to.")] = None,
    data: Annotated[
        str | None,
        typer.Option("--data", "-d", help="The event's data: JSON, @FILE, or - for standard input."),
    ] = None,
    id: Annotated[  # noqa: A002
        str | None, typer.Option("--id", help="The event's id; a new one when not given.")
    ] = None,
    event: Annotated[
        str | None,
        typer.Option("--event", help="FILE (or -) with one CloudEvent as JSON, or a list of them."),
    ] = None,
    *,
    to: To,
) -> None:
    """Post one event made of options, or events from a file; they are on disk when this returns."""
    told: dict[str, Any] = {}
    with failures_reported():
        if event is not None:
            if type is not None or data is not None or id is not None or subject is not None:
                raise UsageFailed("--event brings whole events; leave --type, --data, --id and --subject out")
            content = _read(event)
        elif type is None:
            raise UsageFailed("an event has a type: give --type TYPE, or --event FILE")
        else:
            content, told = _compose(type, source, subject=subject, data=data, id=id)
    is_batch = content.lstrip()[:1] == b"["

    async def work(server: Server) -> tuple[Any, bool]:
        answer = await server.post_event(content, _BATCH if is_batch else _STRUCTURED)
        return answer, server.is_offline

    answer, is_offline = to.ask(work)
    if to.output is Output.JSON:
        print_json({**told, **answer})
    else:
        for one in answer["events"] if is_batch else [answer]:
            what = "was there already" if one["duplicate"] else "accepted"
            typer.echo(f"{what} at position {one['position']}")
    if is_offline:
        note("no server runs for this project: what was accepted is on disk and routed when one starts")


@app.command("list")
@asking
def list_events(
    type: Annotated[str | None, typer.Option("--type", "-t", help="Only this type.")] = None,  # noqa: A002
    source: Annotated[str | None, typer.Option("--source", "-s", help="Only this source.")] = None,
    subject: Annotated[str | None, typer.Option("--subject", help="Only this subject.")] = None,
    id: Annotated[str | None, typer.Option("--id", help="Only this id.")] = None,  # noqa: A002
    unmatched: Annotated[
        bool,
        typer.Option("--unmatched", help="Only events that no trigger took; without --type none of runs."),
    ] = False,
    before: Annotated[int | None, typer.Option("--before", min=0, help="Only below this position.")] = None,
    limit: Limit = 50,
    *,
    to: To,
) -> None:
    """List events, newest first."""
    where = {"type": type, "source": source, "subject": subject, "id": id, "before": before, "limit": limit}
    where["unmatched"] = True if unmatched else None
    page = to.ask(lambda server: server.get("events", **where))
    show_page(page, to.output, _COLUMNS)


@app.command("show")
@asking
def show_event(
    position: Annotated[int, typer.Argument(min=1, help="Its place in the log.")], *, to: To
) -> None:
    """Show an event and everything that came of it."""
    found = to.ask(lambda server: server.get("events", str(position)))
    show_item(
        found, to.output, tables={"dispositions": _DISPOSITIONS, "held": _HELD, "deliveries": _DELIVERIES}
    )


def _compose(
    type: str,  # noqa: A002
    source: str,
    *,
    subject: str | None,
    data: str | None,
    id: str | None,  # noqa: A002
) -> tuple[bytes, dict[str, Any]]:
    """A CloudEvent in JSON form, its data as it was written, and its identity."""
    import orjson

    from tidemill.ids import new_id

    identity = {"source": source, "id": id or new_id()}
    attributes = {"specversion": "1.0", **identity, "type": type}
    if subject is not None:
        attributes["subject"] = subject
    if data is not None:
        attributes["datacontenttype"] = "application/json"
    try:
        text = orjson.dumps(attributes)
    except orjson.JSONEncodeError:
        raise UsageFailed("the event's attributes are not UTF-8 text") from None
    return (text if data is None else text[:-1] + b',"data":' + _json_text(data) + b"}"), identity


def _json_text(data: str) -> bytes:
    """The JSON text that `--data` gives, kept to the letter: the server judges it."""
    import orjson

    is_place = data == _STDIN or data.startswith("@")
    text = _read(data.removeprefix("@")) if is_place else os.fsencode(data)
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise UsageFailed(f"--data is not JSON ({error}); text is written in quotes: '\"text\"'") from None
    return text


def _read(place: str) -> bytes:
    if place == _STDIN:
        return sys.stdin.buffer.read()
    try:
        return Path(place).read_bytes()
    except OSError as error:
        raise UsageFailed(f"{place} cannot be read: {error.strerror or error}") from None
