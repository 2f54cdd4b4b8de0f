"""`tidemill runs`: read runs, follow them, cancel and retry them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from tidemill.cli import analysis, rerun, run_diff, run_migration, watch
from tidemill.cli.asking import To, asking
from tidemill.cli.options import (
    Before,
    Limit,
    Output,
    group,
)
from tidemill.cli.server import Server
from tidemill.cli.terminal import note, show_item, show_page, when

__all__ = ["app", "show_run"]

app = group("Read runs, follow them, cancel and retry them.")

RunId = Annotated[str, typer.Argument(help="Id of the run.", metavar="ID")]

_COLUMNS = {
    "id": lambda row: row["id"],
    "dag": lambda row: row["dag"],
    "state": lambda row: row["state"],
    "trigger": lambda row: row["trigger"],
    "position": lambda row: row["event"]["position"],
    "queued": lambda row: when(row["queued_at"]),
    "ended": lambda row: when(row["ended_at"]),
}
_TASKS = {
    "id": lambda row: row["id"],
    "state": lambda row: row["state"],
    "attempts": lambda row: row["attempts"],
    "started": lambda row: when(row["started_at"]),
    "ended": lambda row: when(row["ended_at"]),
    "error": lambda row: _error(row["error"]),
    "waits for": lambda row: _wait(row.get("wait")),
    "because": lambda row: ", ".join(row.get("because") or ()),
    "from": lambda row: _origin(row.get("reused")),
    "result": lambda row: row["result"],
}


@app.command("list")
@asking
def list_runs(
    dag: Annotated[str | None, typer.Option("--dag", help="Only runs of this DAG.")] = None,
    state: Annotated[str | None, typer.Option("--state", help="Only runs in this state.")] = None,
    trigger: Annotated[str | None, typer.Option("--trigger", help="Only runs of this trigger.")] = None,
    position: Annotated[
        int | None, typer.Option("--position", min=0, help="Only runs of the event at this position.")
    ] = None,
    quarantined: Annotated[
        bool,
        typer.Option(
            "--quarantined", help="Only runs that were failed for killing the process, and not run again yet."
        ),
    ] = False,
    before: Before = None,
    limit: Limit = 50,
    *,
    to: To,
) -> None:
    """List runs, newest first."""
    where = {
        "dag": dag,
        "state": state,
        "trigger": trigger,
        "position": position,
        "quarantined": quarantined or None,
        "before": before,
        "limit": limit,
    }
    page = to.ask(lambda server: server.get("runs", **where))
    show_page(page, to.output, _COLUMNS)


@app.command("show")
@asking
def show(run_id: RunId, *, to: To) -> None:
    """Show a run with its tasks."""
    show_run(to.ask(lambda server: server.get("runs", run_id)), to.output)


@app.command("watch", short_help="Follow a run until it ends.")
@asking
def watch_run(
    run_id: Annotated[
        str | None,
        typer.Argument(help="Id of the run; without one every run is told as it ends.", metavar="[ID]"),
    ] = None,
    *,
    to: To,
) -> None:
    """Follow a run until it ends: exit code 0 when it succeeded, 1 when it did not."""
    if run_id is None:
        to.ask(lambda server: watch.follow_all(server, to.output))
        return
    ended = to.ask(lambda server: watch.follow(server, run_id, to.output))
    raise typer.Exit(0 if ended["state"] == "succeeded" else 1)


app.command("diff", short_help="Compare two runs.")(run_diff.diff)
app.command("migrate", short_help="Go on with another version.")(run_migration.migrate)
app.command("analyze", short_help="Say what decides how long a run takes.")(analysis.analyze_run)


@app.command("cancel")
@asking
def cancel(run_id: RunId, *, to: To) -> None:
    """Ask for the end of a run that goes on."""
    _request(to, run_id, "cancel")


@app.command("retry", short_help="Run again what did not succeed.")
@asking
def retry(run_id: RunId, *, to: To) -> None:
    """Start a new run that takes over what a failed or cancelled one has done, and does the rest again."""
    _request(to, run_id, "retry")


@app.command("mark", short_help="Let pass what depends on a run.")
@asking
def mark_run(
    run_id: RunId,
    tasks: Annotated[
        list[str] | None, typer.Option("--task", help="Only this task; may be given again. All without it.")
    ] = None,
    *,
    to: To,
) -> None:
    """Let the next run go on where its tasks depend on an ended run's (`depends_on_past`)."""
    marked = to.ask(lambda server: server.post("runs", run_id, "mark", body={"tasks": tasks or []}))
    show_item(marked, to.output)


@app.command("rerun", short_help="Make an ended run again, whole or in part.")
@asking
def rerun_run(
    run_id: RunId,
    from_tasks: rerun.FromOption = None,
    only: rerun.OnlyOption = None,
    failed: rerun.FailedOption = False,
    with_downstream: rerun.WithDownstreamOption = False,
    parameters: rerun.SetOption = None,
    edits: rerun.EditOption = None,
    on_version: rerun.VersionOption = "recorded",
    request_id: rerun.RequestIdOption = None,
    *,
    to: To,
) -> None:
    """Start a new run that makes an ended one again: all of it, or what is named; the rest is carried over."""
    run, is_offline = rerun.ask_again(
        to,
        run_id,
        from_tasks=from_tasks,
        only=only,
        failed=failed,
        with_downstream=with_downstream,
        parameters=parameters,
        edits=edits,
        on_version=on_version,
        request_id=request_id,
    )
    show_run(run, to.output)
    if is_offline:
        note("no server runs for this project: the rerun is on disk and carried out when one starts")


def _wait(wait: Mapping[str, Any] | None) -> str:
    """What a task waits for, in one line."""
    if wait is None:
        return ""
    told = str(wait["kind"])
    match wait["kind"]:
        case "event":
            values = ", ".join(f"{path}={value}" for path, value in (wait["match"] or {}).items())
            told = f"event {wait['pattern']}" + (f" with {values}" if values else "")
        case "approval":
            told = f"approval {wait['approval']}" + (f" ({wait['title']})" if wait["title"] else "")
        case "run":
            told = f"run {wait['run']} of {wait['dag']}"
    return told + (f" until {when(wait['due_at'])}" if wait["due_at"] else "")


def show_run(run: Mapping[str, Any], output: Output) -> None:
    """Print a run, with its tasks where it has them."""
    shown = (
        run
        if output is Output.JSON
        else {**run, "event": _event(run["event"]), **_progress(run), **_again(run), **_parent(run)}
    )
    show_item(shown, output, tables={"tasks": _TASKS} if "tasks" in run else None)


def _request(to: To, run_id: str, what: str) -> None:
    async def work(server: Server) -> tuple[Any, bool]:
        return await server.post("runs", run_id, what), server.is_offline

    run, is_offline = to.ask(work)
    show_run(run, to.output)
    if is_offline:
        note(f"no server runs for this project: the {what} is on disk and carried out when one starts")


def _progress(run: Mapping[str, Any]) -> dict[str, str]:
    return {"progress": watch.told_progress(run["progress"])} if "progress" in run else {}


def _event(event: Mapping[str, Any]) -> str:
    return f"{event['source']} {event['id']} (position {event['position']})"


def _parent(run: Mapping[str, Any]) -> dict[str, str]:
    parent = run.get("parent")
    return {} if parent is None else {"parent": f"{parent['task']} of run {parent['run']}"}


def _again(run: Mapping[str, Any]) -> dict[str, str]:
    """The run that this one makes again, in one line."""
    again = run.get("rerun_of")
    if again is None:
        return {}
    what = [
        f"{name} {', '.join(again[name])}" for name in ("from", "only", "edited", "parameters") if again[name]
    ]
    what += ["what failed"] if again["failed"] else []
    what += ["with everything below"] if again["with_downstream"] else []
    return {"rerun_of": f"{again['run']} ({'; '.join(what) or 'all of it'}), asked by {again['by']}"}


def _origin(reused: Mapping[str, Any] | None) -> str:
    if reused is None:
        return ""
    by = "" if reused["by"] is None else f" by {reused['by']}"
    return f"{reused['how']}{by} from {reused['run']}"


def _error(error: Mapping[str, Any] | None) -> str:
    return "" if error is None else f"{error['type']}: {error['message']}"
