"""`tidemill runs analyze` and `tidemill dags analyze`: what decides how long a run takes, and what would shorten it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from tidemill.cli.asking import To, asking
from tidemill.cli.options import Output
from tidemill.cli.terminal import print_json, show_item, when

__all__ = ["analyze_dag", "analyze_run", "told_seconds"]

SlotsOption = Annotated[
    int | None, typer.Option("--slots", min=1, help="What if so many task runs could run at once.")
]
WithoutOption = Annotated[
    list[str] | None, typer.Option("--without", help="What if TASK took no time.", metavar="TASK")
]
FasterOption = Annotated[
    list[str] | None,
    typer.Option("--faster", help="What if TASK took that share of its time.", metavar="TASK=SHARE"),
]
JsonOption = Annotated[bool, typer.Option("--json", help="The same as --output json.")]

_PATH = {
    "task": lambda row: row["task"],
    "working": lambda row: ("~" if row["expected"] else "") + told_seconds(row["working_seconds"]),
    "waiting": lambda row: told_seconds(row["waiting_seconds"]),
    "share": lambda row: f"{row['share']:.0%}",
}
_TASKS = {
    "id": lambda row: row["id"],
    "state": lambda row: "not run" if row["state"] is None else row["state"],
    "runs": lambda row: f"{row['done']}/{row['total']}" if row["total"] != 1 else "",
    "expected": lambda row: (
        ""
        if row["expected_seconds"] is None
        else ("" if row["learned"] else "?") + told_seconds(row["expected_seconds"])
    ),
    "working": lambda row: told_seconds(row["working_seconds"]),
    "waiting": lambda row: told_seconds(row["waiting_seconds"]),
    "slack": lambda row: "critical" if row["critical"] else told_seconds(row["slack_seconds"]),
}
_BOTTLENECKS = {
    "task": lambda row: row["task"],
    "kind": lambda row: row["kind"],
    "saves": lambda row: told_seconds(row["seconds"]),
    "advice": lambda row: row["advice"],
}


@asking
def analyze_run(
    run_id: Annotated[str, typer.Argument(help="Id of the run.", metavar="ID")],
    slots: SlotsOption = None,
    without: WithoutOption = None,
    faster: FasterOption = None,
    json: JsonOption = False,
    *,
    to: To,
) -> None:
    """Critical path, slack, waiting and bottlenecks of a run, when it ends, and what would shorten it."""
    where = {"slots": slots, "without": without, "faster": faster}
    _show(to.ask(lambda server: server.get("runs", run_id, "analysis", **where)), to.output, json)


@asking
def analyze_dag(
    dag: Annotated[str, typer.Argument(help="Id of the DAG.", metavar="DAG")],
    slots: SlotsOption = None,
    without: WithoutOption = None,
    faster: FasterOption = None,
    json: JsonOption = False,
    *,
    to: To,
) -> None:
    """The same for a run that would begin now, by what was learned of the DAG's tasks."""
    where = {"slots": slots, "without": without, "faster": faster}
    _show(to.ask(lambda server: server.get("dags", dag, "analysis", **where)), to.output, json)


def told_seconds(seconds: float) -> str:
    """A time as people say it: three digits at most."""
    if seconds < 1:
        return f"{seconds * 1000:.3g} ms" if seconds else "0"
    if seconds < 120:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def _show(found: Mapping[str, Any], output: Output, as_json: bool) -> None:
    if as_json or output is Output.JSON:
        print_json(found)
        return
    shown: dict[str, Any] = {
        name: found[name] for name in ("run", "dag", "version", "state") if name in found
    }
    shown["length"] = told_seconds(found["length_seconds"])
    shown["shortest"] = f"{told_seconds(found['shortest_seconds'])} if nobody waited for a slot"
    shown["working"] = told_seconds(found["working_seconds"])
    shown["waiting"] = told_seconds(found["waiting_seconds"])
    if found.get("remaining_seconds") is not None:
        shown["left"] = f"about {told_seconds(found['remaining_seconds'])}, until {when(found['ends_at'])}"
    if (what_if := found["what_if"]) is not None:
        shown["what if"] = _what_if(what_if)
    shown["critical path"] = found["critical_path"]
    shown["tasks"] = found["tasks"]
    shown["bottlenecks"] = found["bottlenecks"]
    tables = {"critical path": _PATH, "tasks": _TASKS, "bottlenecks": _BOTTLENECKS}
    show_item(shown, Output.TABLE, tables=tables)


def _what_if(found: Mapping[str, Any]) -> str:
    changes = [f"without {task}" for task in found["without"]]
    changes += [f"{task} at {share:g} of its time" for task, share in found["faster"].items()]
    with_what = ", ".join([f"{found['slots']} slots", *changes])
    before, after = told_seconds(found["before_seconds"]), told_seconds(found["after_seconds"])
    bound = told_seconds(found["lower_bound_seconds"])
    return f"{with_what}: {before} becomes {after}; no order could be faster than {bound}"
