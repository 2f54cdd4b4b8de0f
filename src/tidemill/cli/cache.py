"""`tidemill cache`: results of tasks that are used again for the same code and inputs."""

from __future__ import annotations

from typing import Annotated

import typer

from tidemill.cli.asking import To, asking
from tidemill.cli.failures import UsageFailed, failures_reported
from tidemill.cli.options import Before, Limit, group
from tidemill.cli.terminal import fields, show_item, show_page, when

__all__ = ["app"]

app = group("Results of tasks that are used again for the same code and inputs.")

_COLUMNS = {
    "made": lambda row: when(row["made_at"]),
    **fields("dag", "task", "run", "bytes", "key"),
}
DagOption = Annotated[str | None, typer.Option("--dag", help="Only results of this DAG.")]
TaskOption = Annotated[str | None, typer.Option("--task", help="Only results of this task.")]


@app.command("list")
@asking
def list_cached(
    dag: DagOption = None,
    task: TaskOption = None,
    before: Before = None,
    limit: Limit = 50,
    *,
    to: To,
) -> None:
    """List cached results, newest first."""
    page = to.ask(lambda server: server.get("cache", dag=dag, task=task, before=before, limit=limit))
    show_page(page, to.output, _COLUMNS)


@app.command("clear", short_help="Forget cached results.")
@asking
def clear(
    dag: DagOption = None,
    task: TaskOption = None,
    key: Annotated[str | None, typer.Option("--key", help="Only this one.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    *,
    to: To,
) -> None:
    """Forget cached results, so that the tasks are called again."""
    with failures_reported():
        if everything == bool(dag or task or key):
            raise UsageFailed("say which: --dag, --task or --key, or --all")
    show_item(to.ask(lambda server: server.delete("cache", dag=dag, task=task, key=key)), to.output)
