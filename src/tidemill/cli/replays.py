"""`tidemill events replay`: recorded events are told again; `replays` and `cancel-replay` follow and stop that."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer

from tidemill.cli.asking import To, asking
from tidemill.cli.failures import UsageFailed, failures_reported
from tidemill.cli.options import Output
from tidemill.cli.server import Server
from tidemill.cli.terminal import note, print_json, show_item, show_page, when

__all__ = ["cancel_replay", "list_replays", "replay"]

_COLUMNS = {
    "id": lambda row: row["id"],
    "asked": lambda row: when(row["at"]),
    "state": lambda row: row["state"],
    "told": lambda row: row["told"],
    "skipped": lambda row: row["skipped"],
    "position": lambda row: f"{row['position']} of {row['until']}",
    "triggers": lambda row: ", ".join(row["triggers"]) or "all",
}
_LOOK_SECONDS = 0.2


@asking
def replay(
    trigger: Annotated[
        list[str] | None, typer.Option("--trigger", help="Tell this trigger (repeat for more); else all.")
    ] = None,
    type: Annotated[str | None, typer.Option("--type", "-t", help="Only this type.")] = None,  # noqa: A002
    source: Annotated[str | None, typer.Option("--source", "-s", help="Only this source.")] = None,
    subject: Annotated[str | None, typer.Option("--subject", help="Only this subject.")] = None,
    filters: Annotated[
        str | None, typer.Option("--filters", help="CloudEvents Subscriptions filters, as JSON.")
    ] = None,
    after: Annotated[int, typer.Option("--after", min=0, help="Only above this position.")] = 0,
    until: Annotated[int | None, typer.Option("--until", min=0, help="Only up to this position.")] = None,
    received_from: Annotated[
        str | None, typer.Option("--from", help="Received at or after this time (RFC 3339).")
    ] = None,
    received_before: Annotated[
        str | None, typer.Option("--before", help="Received before this time (RFC 3339).")
    ] = None,
    rate: Annotated[float | None, typer.Option("--rate", help="Most events told per second.")] = None,
    if_no_runs: Annotated[
        bool, typer.Option("--if-no-runs", help="Leave out events that started a run already.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Return when it has ended.")] = False,
    *,
    to: To,
) -> None:
    """Tell recorded events again, marked with the replay's id; the order is on disk when this returns."""
    with failures_reported():
        order = {
            "after": after,
            "until": until,
            "received_from": received_from,
            "received_before": received_before,
            "type": type,
            "source": source,
            "subject": subject,
            "filters": _json(filters),
            "triggers": trigger or [],
            "if_no_runs": if_no_runs,
            "rate": rate,
        }

    async def work(server: Server) -> tuple[Any, bool]:
        asked = await server.post("replays", body=order)
        while wait and not server.is_offline and asked["state"] == "running":
            await asyncio.sleep(_LOOK_SECONDS)
            asked = await server.get("replays", asked["id"])
        return asked, server.is_offline

    asked, is_offline = to.ask(work)
    if to.output is Output.JSON:
        print_json(asked)
    else:
        typer.echo(
            f"replay {asked['id']}: {asked['state']}, {asked['told']} told, {asked['skipped']} skipped"
        )
    if is_offline:
        note("no server runs for this project: the order is on disk and carried out when one starts")


@asking
def list_replays(*, to: To) -> None:
    """List replays and how far they got, oldest first."""
    show_page(to.ask(lambda server: server.get("replays")), to.output, _COLUMNS)


@asking
def cancel_replay(
    replay_id: Annotated[str, typer.Argument(metavar="REPLAY", help="Its id.")], *, to: To
) -> None:
    """Stop a replay where it stands; what was told stays told."""
    found = to.ask(lambda server: server.post("replays", replay_id, "cancel"))
    show_item(found, to.output)


def _json(text: str | None) -> Any:
    if text is None:
        return []
    import orjson

    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise UsageFailed(f"--filters is not JSON ({error})") from None
