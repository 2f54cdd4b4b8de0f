"""`tidemill runs migrate`: let a run go on with another version of its DAG."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer

from tidemill.cli.asking import To, asking
from tidemill.cli.failures import CommandFailed
from tidemill.cli.options import Output
from tidemill.cli.server import Server
from tidemill.cli.terminal import clean, note, print_json

__all__ = ["migrate"]

#: How long to wait for the engine to say what became of it, in seconds.
_PATIENCE_SECONDS = 10.0
_LOOK_AGAIN_SECONDS = 0.1


@asking
def migrate(
    run_id: Annotated[str, typer.Argument(help="Id of the run.", metavar="ID")],
    target: Annotated[
        str,
        typer.Option("--to", help="A version, the beginning of one, or `live`.", metavar="VERSION"),
    ] = "live",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say whether it fits; exit code 3 when it does not.")
    ] = False,
    *,
    to: To,
) -> None:
    """Let a run go on with another version of its DAG, if everything that it has done fits that version.

    Nothing is done again. A run of which a task runs or waits now cannot be moved.
    """
    body = {"to": target, "dry_run": dry_run}

    async def work(server: Server) -> tuple[dict[str, Any], bool]:
        answer: dict[str, Any] = await server.post("runs", run_id, "migrate", body=body)
        if not dry_run and not server.is_offline:
            await _wait(server, run_id, answer["version"])
        return answer, server.is_offline

    found, is_offline = to.ask(work)
    if to.output is Output.JSON:
        print_json(found)
    else:
        for misfit in found["misfits"]:
            typer.echo(clean(misfit))
        if not found["misfits"]:
            verb = "can go on" if dry_run else "goes on"
            typer.echo(clean(f"run {run_id} {verb} with {found['version']} (it was on {found['was']})"))
    if is_offline and not dry_run:
        note("no server runs for this project: the run is moved when one starts")
    if found["misfits"]:
        raise typer.Exit(3)


async def _wait(server: Server, run_id: str, version: str) -> None:
    loop = asyncio.get_running_loop()
    end = loop.time() + _PATIENCE_SECONDS
    while loop.time() < end:
        run = await server.get("runs", run_id)
        if run["version"] == version:
            return
        await asyncio.sleep(_LOOK_AGAIN_SECONDS)
    raise CommandFailed(
        "the run stays on its version: it has gone on meanwhile to what does not fit (the server's log says why)"
    )
