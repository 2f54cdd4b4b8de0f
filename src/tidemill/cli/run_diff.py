"""`tidemill runs diff`: what two runs were given, what became of their tasks, and where they parted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from tidemill.cli.asking import To, asking
from tidemill.cli.options import Output
from tidemill.cli.terminal import clean, fields, print_json, show_page

__all__ = ["diff"]

_TASKS = {
    "task": lambda row: row["id"],
    "before": lambda row: _side(row["before"]),
    "after": lambda row: _side(row["after"]),
    "differs": lambda row: ", ".join(row["differs"]),
}


@asking
def diff(
    before: Annotated[str, typer.Argument(help="Id of a run.", metavar="A")],
    after: Annotated[str, typer.Argument(help="Id of another run.", metavar="B")],
    every: Annotated[bool, typer.Option("--every", help="Also tasks that came to the same.")] = False,
    *,
    to: To,
) -> None:
    """Compare two runs: parameters, version, and of each task state, attempts, duration and result."""
    found = to.ask(lambda server: server.get("runs", before, "diff", after))
    if to.output is Output.JSON:
        print_json(found)
        return
    _show_runs(found)
    if found["parameters"]:
        typer.echo("\nparameters")
        show_page(_page(found["parameters"]), to.output, fields("name", "before", "after"))
    tasks = [one for one in found["tasks"] if one["differs"] or every]
    if tasks:
        typer.echo("\ntasks")
        show_page(_page(tasks), to.output, _TASKS)
    told = "no task came to something else" if found["first"] is None else f"differs first: {found['first']}"
    typer.echo(clean(f"\n{told}"))


def _show_runs(found: Mapping[str, Any]) -> None:
    sides = (found["before"], found["after"])
    rows = [
        {"": name, "A": sides[0][name], "B": sides[1][name]} for name in ("id", "dag", "version", "state")
    ]
    show_page(_page(rows), Output.TABLE, fields("", "A", "B"))


def _page(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {"items": rows, "next": None}


def _side(side: Mapping[str, Any] | None) -> str:
    if side is None:
        return "-"
    import orjson

    seconds = "" if side["seconds"] is None else f" {side['seconds']:g} s"
    tries = f" x{side['attempts']}" if side["attempts"] > 1 else ""
    result = ""
    if side["digest"]:
        result = (
            f" {orjson.dumps(side['result']).decode()}"
            if side["result"] is not None
            else f" {side['digest']}"
        )
    error = f" {side['error']}" if side["error"] else ""
    return f"{side['state']}{tries}{seconds}{result}{error}"
