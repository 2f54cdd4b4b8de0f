"""`tidemill runs rerun`: make a run again, whole or in part."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tidemill.cli.asking import To
from tidemill.cli.dead_letters import asker
from tidemill.cli.failures import UsageFailed, failures_reported
from tidemill.cli.server import Server

__all__ = [
    "EditOption",
    "FailedOption",
    "FromOption",
    "OnlyOption",
    "RequestIdOption",
    "SetOption",
    "VersionOption",
    "WithDownstreamOption",
    "ask_again",
]

FromOption = Annotated[
    list[str] | None,
    typer.Option("--from", help="This task and everything below it; may be given again.", metavar="TASK"),
]
OnlyOption = Annotated[
    list[str] | None,
    typer.Option("--only", help="This task and nothing else that has a result.", metavar="TASK"),
]
FailedOption = Annotated[bool, typer.Option("--failed", help="What did not succeed.")]
WithDownstreamOption = Annotated[
    bool, typer.Option("--with-downstream", help="Everything below --only or --failed, too.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="Another value of a parameter, as JSON; carries over nothing unasked.",
        metavar="NAME=JSON",
    ),
]
EditOption = Annotated[
    list[str] | None,
    typer.Option(
        "--edit", help="Another result of a task, as JSON, for those below it.", metavar="TASK=JSON"
    ),
]
VersionOption = Annotated[
    str, typer.Option("--on-version", help="recorded: the version that the run began with; or current.")
]
RequestIdOption = Annotated[
    str | None, typer.Option("--request-id", help="Asking again with the same one gives the same run.")
]


def ask_again(
    to: To,
    run_id: str,
    *,
    from_tasks: list[str] | None,
    only: list[str] | None,
    failed: bool,
    with_downstream: bool,
    parameters: list[str] | None,
    edits: list[str] | None,
    on_version: str,
    request_id: str | None,
) -> tuple[Any, bool]:
    """The new run, and whether nobody works on it yet; ends the command for what is not NAME=JSON."""
    with failures_reported():
        body: dict[str, Any] = {
            "from": from_tasks or [],
            "only": only or [],
            "failed": failed,
            "with_downstream": with_downstream,
            "set": _values("--set", parameters or []),
            "edit": _values("--edit", edits or []),
            "on_version": on_version,
            "by": asker(),
        }
    if request_id is not None:
        body["request_id"] = request_id

    async def work(server: Server) -> tuple[Any, bool]:
        return await server.post("runs", run_id, "reruns", body=body), server.is_offline

    return to.ask(work)


def _values(option: str, given: list[str]) -> dict[str, Any]:
    import orjson

    found: dict[str, Any] = {}
    for one in given:
        name, sign, text = one.partition("=")
        if not sign or not name:
            raise UsageFailed(f"{option} {one!r} is not NAME=JSON")
        try:
            found[name] = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            raise UsageFailed(
                f'{option} {name}: the value is not JSON ({error}); texts are written "so"'
            ) from None
    return found
