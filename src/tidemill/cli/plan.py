"""`tidemill plan`: what the folders would start from recorded events, against what was started; nothing is done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tidemill.cli.archived import read_archive
from tidemill.cli.asking import To, asking
from tidemill.cli.failures import UsageFailed, failures_reported
from tidemill.cli.options import Output
from tidemill.cli.server import Server
from tidemill.cli.terminal import print_json, show_page

if TYPE_CHECKING:
    from tidemill.keeping.archive import Archived
    from tidemill.keeping.plan import Change

__all__ = ["plan"]

#: Starts would be added, removed or changed.
_EXIT_DIFFERENT = 3
_PAGE = 500

_COLUMNS = {
    "change": lambda row: row["change"],
    "position": lambda row: row["position"],
    "trigger": lambda row: row["trigger"],
    "before": lambda row: _told(row["before"]),
    "after": lambda row: _told(row["after"]),
}


@asking
def plan(
    against_archive: Annotated[
        bool, typer.Option("--against-archive", help="Read the archive too, not only the log.")
    ] = False,
    baseline: Annotated[
        Path | None,
        typer.Option(
            "--baseline", help="Compare with what this project folder would start, not with what was."
        ),
    ] = None,
    after: Annotated[int, typer.Option("--after", min=0, help="Only events above this position.")] = 0,
    most: Annotated[int, typer.Option("--most", min=1, help="Changes shown at most; all are counted.")] = 50,
    *,
    to: To,
) -> None:
    """Run recorded events through the project's triggers, and say which starts would be added, removed or changed.

    Nothing is started and nothing stored. Exit code 0: no start differs; 3: some do.
    """
    with failures_reported():
        from tidemill.keeping.plan import Planner
        from tidemill.project.load import load

        before = None if baseline is None else load(baseline)
        planner = Planner(load(to.target.project), before)
        archived = _archive(to.target.project) if against_archive else iter(())
    looked = _Counted(archived)
    changes = list(planner.changes(looked))

    async def work(server: Server) -> list[Change]:
        from tidemill.keeping.archive import from_json

        found: list[Change] = []
        position = max(after, looked.position)
        while True:
            page = await server.get("past", after=position, limit=_PAGE)
            items = page["items"]
            if not items:
                return found
            position = items[-1]["position"]
            recorded = [from_json({**item, "received_at": item["received_us"]}) for item in items]
            looked.number += len(recorded)
            found += planner.changes(recorded)

    changes += to.ask(work)
    changes = [change for change in changes if change.position > after]
    _show(changes, looked.number, most, to.output)
    if changes:
        raise typer.Exit(_EXIT_DIFFERENT)


class _Counted:
    """Archived events on their way, counted."""

    def __init__(self, archived: Iterator[Archived]) -> None:
        self._archived = archived
        self.number = 0
        self.position = 0

    def __iter__(self) -> Iterator[Archived]:
        for one in self._archived:
            self.number += 1
            self.position = one.logged.position
            yield one


def _archive(project: Path) -> Iterator[Archived]:
    archived = read_archive(project)
    if archived is None:
        raise UsageFailed("--against-archive: there is no archive (archive_url)")
    return archived


def _show(changes: list[Change], looked: int, most: int, output: Output) -> None:
    counted = Counter(change.difference.value for change in changes)
    numbers = {name: counted.get(name, 0) for name in ("added", "removed", "changed")}
    rows = [
        {
            "change": change.difference.value,
            "position": change.position,
            "trigger": change.trigger,
            "before": change.before,
            "after": change.after,
        }
        for change in changes[:most]
    ]
    if output is Output.JSON:
        print_json({"events": looked, **numbers, "changes": rows})
        return
    if rows:
        show_page({"items": rows, "next": None}, output, _COLUMNS)
    told = ", ".join(f"{count} {name}" for name, count in numbers.items())
    typer.echo(f"{looked} events: {told}")


def _told(start: Any) -> str:
    import orjson

    if not start:
        return "-" if start is None else "started"
    if "refused" in start:
        return str(start["refused"])
    return f"{start['dag']} {orjson.dumps(start['parameters']).decode()}"
