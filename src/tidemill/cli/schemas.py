"""`tidemill schemas`: whether schemas of event data hold, also of the events that were recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from tidemill.cli.archived import read_archive
from tidemill.cli.asking import To, asking
from tidemill.cli.failures import failures_reported
from tidemill.cli.options import Output, group
from tidemill.cli.server import Server
from tidemill.cli.terminal import clean, print_json

if TYPE_CHECKING:
    from tidemill.events.event import Event
    from tidemill.project.model import Project
    from tidemill.project.schema_check import Finding

__all__ = ["app"]

app = group("Schemas of event data.")

_PAGE = 500


@app.command("check")
@asking
def check(
    against_archive: Annotated[
        bool,
        typer.Option(
            "--against-archive",
            help="Check recorded events too: the log's, and the archive's if there is one.",
        ),
    ] = False,
    after: Annotated[int, typer.Option("--after", min=0, help="Only events above this position.")] = 0,
    most: Annotated[int, typer.Option("--most", min=1, help="Findings shown at most; all are counted.")] = 50,
    *,
    to: To,
) -> None:
    """Check the schemas of the project folder: their examples, and recorded events that they would refuse today.

    Exit code 1 when something would be refused. A schema that only warns is told and changes nothing.
    """
    with failures_reported():
        from tidemill.project.load import load
        from tidemill.project.schema_check import check_examples

        loaded = load(to.target.project)
        examples = [_row("example", None, finding) for finding in check_examples(loaded)]
        judge = _Judge(loaded, after)
        if against_archive:
            for one in read_archive(to.target.project) or ():
                judge.look(one.logged.position, one.logged.event)
    if against_archive:
        to.ask(judge.read)
    rows = [*examples, *sorted(judge.rows, key=lambda row: row["position"])]
    _show(rows, len(loaded.schemas), judge.looked if against_archive else None, most, to.output)
    if any(row["refused"] for row in rows):
        raise typer.Exit(1)


class _Judge:
    """Looks at recorded events and notes those that would be refused today."""

    def __init__(self, project: Project, after: int) -> None:
        self._project = project
        self._after = after
        self.looked = 0
        self.rows: list[dict[str, Any]] = []

    def look(self, position: int, event: Event) -> None:
        """Note what is wrong with one event."""
        from tidemill.project.schema_check import check_event

        if position <= self._after:
            return
        self.looked += 1
        if finding := check_event(self._project, event):
            self.rows.append({**_row("event", position, finding), "type": event.type, "id": event.id})

    async def read(self, server: Server) -> None:
        """Look at every event of the log, newest first."""
        from tidemill.events import json_format

        before: int | None = None
        while True:
            page = await server.get("events", before=before, limit=_PAGE)
            for item in page["items"]:
                self.look(item["position"], json_format.from_json(item["event"]))
            before = page["next"]
            if before is None or before <= self._after:
                return


def _row(kind: str, position: int | None, finding: Finding) -> dict[str, Any]:
    return {
        "kind": kind,
        "position": position,
        "schema": finding.schema,
        "refused": finding.is_refused,
        "problems": [{"attribute": pointer, "detail": detail} for pointer, detail in finding.places],
    }


def _show(rows: list[dict[str, Any]], schemas: int, looked: int | None, most: int, output: Output) -> None:
    refused = sum(row["refused"] for row in rows)
    if output is Output.JSON:
        told = {"schemas": schemas, "events": looked, "refused": refused, "warned": len(rows) - refused}
        print_json({**told, "findings": rows[:most]})
        return
    for row in rows[:most]:
        place = row["schema"] if row["position"] is None else f"position {row['position']} ({row['type']})"
        first = row["problems"][0]
        verdict = "would be refused" if row["refused"] else "would be warned of"
        typer.echo(clean(f"{place} {verdict} at {first['attribute']}: {first['detail']}"))
    events = "" if looked is None else f", {looked} events"
    typer.echo(f"{schemas} schemas{events}: {refused} refused, {len(rows) - refused} warned of")
