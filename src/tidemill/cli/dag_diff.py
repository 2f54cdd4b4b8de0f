"""`tidemill dags versions` and `tidemill dags diff`: which versions there were, and what changed between two."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from tidemill.cli.asking import To, asking
from tidemill.cli.failures import UsageFailed, failures_reported
from tidemill.cli.options import Output
from tidemill.cli.server import Server
from tidemill.cli.terminal import clean, note, print_json, show_page, when

__all__ = ["diff", "versions"]

#: The project's files as they are, and the version that runs begin with now.
_FOLDER, _LIVE = "folder", "live"
#: The versions are not the same.
_EXIT_DIFFERENT = 3

DagId = Annotated[str, typer.Argument(help="Id of the DAG.", metavar="DAG")]

_COLUMNS = {
    "version": lambda row: row["version"],
    "live": lambda row: "live" if row["is_live"] else "",
    "since": lambda row: when(row["saved_at"]),
    "file": lambda row: row["file"],
}


@asking
def versions(dag: DagId, *, to: To) -> None:
    """List the kept versions of a DAG, newest first."""
    show_page(to.ask(lambda server: server.get("dags", dag, "versions")), to.output, _COLUMNS)


@asking
def diff(
    dag: DagId,
    before: Annotated[
        str | None,
        typer.Option(
            "--from", help="A version or the beginning of one, `live` or `folder`.", metavar="VERSION"
        ),
    ] = None,
    after: Annotated[
        str, typer.Option("--to", help="The same; the project's files without it.", metavar="VERSION")
    ] = _FOLDER,
    against: Annotated[
        str | None, typer.Option("--against", help="Compare with what the server at this URL has.")
    ] = None,
    *,
    to: To,
) -> None:
    """Say what changed between two versions of a DAG: options, parameters, tasks, edges, texts.

    Without --from it is the live version of the server, or the newest kept one where none runs. Exit code 0: nothing
    differs; 3: something does.
    """
    if against is not None:
        to = replace(to, target=replace(to.target, url=against))

    async def work(server: Server) -> list[Mapping[str, Any]]:
        origin = before or (await _newest(server, dag) if server.is_offline else _LIVE)
        return [await _version(server, dag, one, to.target.project) for one in (origin, after)]

    was, now = to.ask(work)
    from tidemill.dag.version_diff import changes, source_diff

    found, texts = changes(was, now), source_diff(was, now)
    if to.output is Output.JSON:
        listed = [
            {
                "kind": one.kind,
                "what": one.what,
                "name": one.name,
                "before": one.before,
                "after": one.after,
            }
            for one in found
        ]
        print_json({"from": was["version"], "to": now["version"], "changes": listed, "source": texts})
    else:
        for line in [f"{dag} {was['version']} -> {now['version']}", *map(str, found), *texts]:
            typer.echo(clean(line.expandtabs(4)))
    for one in (was, now):
        if one.get("problem"):
            note(f"{one['version']} cannot be loaded any more, only its graph is compared: {one['problem']}")
    if found or texts:
        raise typer.Exit(_EXIT_DIFFERENT)


async def _newest(server: Server, dag: str) -> str:
    """The newest kept version; the offline server has never begun to serve the one in the folder."""
    items = (await server.get("dags", dag, "versions"))["items"]
    kept = [one for one in items if one["saved_at"] is not None] or items
    return str(kept[0]["version"])


async def _version(server: Server, dag: str, name: str, project: Path) -> Mapping[str, Any]:
    if name == _FOLDER:
        return _in_folder(dag, project)
    found: Mapping[str, Any] = await server.get("dags", dag, "versions", name)
    return found


def _in_folder(dag: str, project: Path) -> Mapping[str, Any]:
    from tidemill.dag.description import described
    from tidemill.project.load import load
    from tidemill.settings import load as load_settings

    with failures_reported():
        dags = load(project, max_tasks=load_settings(project).max_tasks_per_dag).dags
    if dag not in dags:
        raise UsageFailed(f"the folder {project.resolve()} has no DAG {dag!r}")
    return described(dags[dag])
