"""`tidemill dags`: what the project defines, and runs by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from tidemill.cli import analysis, dag_diff, dag_graph, watch
from tidemill.cli.asking import To, asking
from tidemill.cli.failures import CommandFailed, UsageFailed, failures_reported
from tidemill.cli.options import Output, group
from tidemill.cli.runs import show_run
from tidemill.cli.server import Server
from tidemill.cli.terminal import fields, note, show_item, show_page

__all__ = ["app"]

app = group("What the project defines, and runs by hand.")

DagId = Annotated[str, typer.Argument(help="Id of the DAG.", metavar="DAG")]

_COLUMNS = {
    "id": lambda row: row["id"],
    "schedule": lambda row: _schedule(row["schedule"]),
    "runs": lambda row: ", ".join(f"{count} {state}" for state, count in sorted(row["runs"].items())),
    "file": lambda row: f"{row['file']}:{row['line']}",
    "description": lambda row: row["description"],
}
_TASKS = {
    "id": lambda row: row["id"],
    "upstream": lambda row: ", ".join(row["upstream"]),
    "executor": lambda row: row["executor"],
    "attempts": lambda row: row["retry"]["max_attempts"],
    "timeout": lambda row: "" if row["timeout_seconds"] is None else f"{row['timeout_seconds']:g} s",
    "note": lambda row: row["note"],
}


@app.command("list")
@asking
def list_dags(*, to: To) -> None:
    """List the project's DAGs."""
    show_page(to.ask(lambda server: server.get("dags")), to.output, _COLUMNS)


@app.command("show")
@asking
def show(dag: DagId, *, to: To) -> None:
    """Show a DAG: tasks, parameters, schedule and triggers."""
    found = to.ask(lambda server: server.get("dags", dag))
    shown = found if to.output is Output.JSON else {**found, "schedule": _schedule(found["schedule"])}
    show_item(shown, to.output, tables={"tasks": _TASKS, "edges": fields("upstream", "downstream")})


app.command("graph", short_help="Draw a DAG.")(dag_graph.graph)
app.command("versions", short_help="List the kept versions of a DAG.")(dag_diff.versions)
app.command("diff", short_help="Say what changed between two versions.")(dag_diff.diff)
app.command("analyze", short_help="Say what decides how long a run takes.")(analysis.analyze_dag)


@app.command("trigger")
@asking
def trigger(
    dag: DagId,
    param: Annotated[
        list[str] | None,
        typer.Option(
            "--param", "-p", help="NAME=VALUE; a VALUE that is not JSON is text.", metavar="NAME=VALUE"
        ),
    ] = None,
    parameters: Annotated[
        str | None, typer.Option("--parameters", help="All parameters as one JSON object.")
    ] = None,
    id: Annotated[  # noqa: A002
        str | None, typer.Option("--id", help="Asking again with the same id gives the same run.")
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for the run's end; exit code 1 unless it succeeded.")
    ] = False,
    *,
    to: To,
) -> None:
    """Start a run of a DAG."""
    with failures_reported():
        body = {"parameters": _parameters(parameters, param or []), **({} if id is None else {"id": id})}

    async def work(server: Server) -> tuple[Any, bool]:
        if wait and server.is_offline:
            raise CommandFailed("no server runs for this project, so there is nothing to wait for")
        run = await server.post("dags", dag, "runs", body=body)
        if wait:
            run = await watch.until_ended(server, run["id"])
        return run, server.is_offline

    run, is_offline = to.ask(work)
    show_run(run, to.output)
    if is_offline:
        note("no server runs for this project: the run is on disk and starts when one does")
    if wait and run["state"] != "succeeded":
        raise typer.Exit(1)


def _parameters(whole: str | None, single: list[str]) -> dict[str, Any]:
    import orjson

    try:
        given = {} if whole is None else orjson.loads(whole)
    except orjson.JSONDecodeError as error:
        raise UsageFailed(f"--parameters is not JSON ({error})") from None
    if not isinstance(given, dict):
        raise UsageFailed("--parameters is a JSON object of names and values")
    for one in single:
        name, equals, text = one.partition("=")
        if not name or not equals:
            raise UsageFailed(f"--param {one!r} is not NAME=VALUE")
        try:
            given[name] = orjson.loads(text)
        except orjson.JSONDecodeError:
            given[name] = text
    return given


def _schedule(schedule: Mapping[str, Any] | None) -> str:
    if schedule is None:
        return ""
    if schedule["cron"] is not None:
        return f"{schedule['cron']} {schedule['timezone']}"
    if schedule["interval_seconds"] is None:
        return f"once at {schedule['at']}"
    return f"every {schedule['interval_seconds']:g} s"
