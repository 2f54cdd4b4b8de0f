"""`tidemill triggers`: which events start what, trying an event, pausing, and what is probably a mistake."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from tidemill.cli.asking import To, asking
from tidemill.cli.failures import UsageFailed, failures_reported
from tidemill.cli.options import Output, OutputOption, ProjectOption, group
from tidemill.cli.terminal import clean, note, print_json, show_item, show_page, when
from tidemill.cli.why import explanation_lines

__all__ = ["app"]

app = group("Which events start what.")

Name = Annotated[str, typer.Argument(help="Name of the trigger.", metavar="NAME")]
Events = Annotated[
    int, typer.Option("--events", min=0, max=10_000, help="How many of the latest events are counted.")
]

_COLUMNS = {
    "name": lambda row: row["name"],
    "state": lambda row: row["state"],
    "dag": lambda row: row["dag"],
    "latest events": lambda row: _counted(row["counts"]),
    "held": lambda row: _counted(row["held"]),
    "paused": lambda row: when(row["paused_at"]) or ("in its file" if row["paused_by"] == "file" else ""),
    "file": lambda row: f"{row['file']}:{row['line']}",
}
_FINDINGS = {
    "finding": lambda row: row["finding"],
    "name": lambda row: row["name"],
    "place": lambda row: f"{row['file']}:{row['line']}" if row["file"] else "",
    "what": lambda row: row["message"],
}


@app.command("list")
@asking
def list_triggers(events: Events = 1000, *, to: To) -> None:
    """List the triggers, and what became of the latest events by them."""
    found = to.ask(lambda server: server.get("triggers", events=events))
    show_page(found, to.output, _COLUMNS)


@app.command("show")
@asking
def show(name: Name, events: Events = 1000, *, to: To) -> None:
    """Show a trigger as it was written, and how it is going."""
    show_item(to.ask(lambda server: server.get("triggers", name, events=events)), to.output)


@app.command("test")
@asking
def try_event(
    file: Annotated[
        str | None, typer.Argument(help="File with the event as JSON, or - for standard input.")
    ] = None,
    event: Annotated[str | None, typer.Option("--event", help="The event as JSON.")] = None,
    position: Annotated[int | None, typer.Option("--position", min=1, help="A recorded event.")] = None,
    trigger: Annotated[
        str | None, typer.Option("--trigger", help="Only this trigger, whether it matches or not.")
    ] = None,
    *,
    to: To,
) -> None:
    """Say which triggers match an event, why, and what they would start; nothing is started or stored.

    The event's specversion, id and source may be left out. Exit code 0: a trigger matches; 1: none does.
    """
    with failures_reported():
        if sum(given is not None for given in (file, event, position)) != 1:
            raise UsageFailed("give exactly one of FILE, --event and --position")
        written = None if position is not None else _read(file, event)
    body = {"event": written, "position": position, "trigger": trigger}
    found = to.ask(lambda server: server.post("trials", body=body))
    if to.output is Output.JSON:
        print_json(found)
    else:
        for line in _trial_lines(found):
            typer.echo(clean(line))
    if not any(one["explanation"]["matched"] for one in found["triggers"]):
        raise typer.Exit(1)


@app.command("pause")
@asking
def pause(name: Name, *, to: To) -> None:
    """Start nothing by a trigger until it is resumed, on every node and over restarts.

    What matches meanwhile is recorded as paused, or waits where its admission says `paused: buffer`.
    """
    show_item(to.ask(lambda server: server.post("triggers", name, "pause")), to.output)


@app.command("resume")
@asking
def resume(name: Name, *, to: To) -> None:
    """Let a paused trigger go on, with what waited meanwhile."""
    show_item(to.ask(lambda server: server.post("triggers", name, "resume")), to.output)


@app.command("lint")
def lint(project: ProjectOption = Path(), output: OutputOption = Output.TABLE) -> None:
    """Find what is probably a mistake in the project's triggers.

    Rules that never hold, shadowed and identical triggers, triggers that nothing feeds, events that nobody takes, and
    loops. Exit code 0: nothing found; 1: something; 2: the project is wrong (see `tidemill validate`).
    """
    with failures_reported():
        from tidemill.project.lint import lint as find
        from tidemill.project.load import load
        from tidemill.settings import load as load_settings

        found = find(load(project, max_tasks=load_settings(project).max_tasks_per_dag))
    rows = [
        {
            "finding": one.kind.value,
            "name": one.name,
            "others": list(one.others),
            "file": one.file,
            "line": one.line,
            "message": one.message,
        }
        for one in found
    ]
    if output is Output.JSON:
        print_json({"findings": rows})
    elif rows:
        show_page({"items": rows, "next": None}, output, _FINDINGS)
    else:
        note("nothing found")
    if rows:
        raise typer.Exit(1)


def _read(file: str | None, text: str | None) -> Any:
    import orjson

    try:
        if text is not None:
            content = text.encode("utf-8", "surrogateescape")
        else:
            content = sys.stdin.buffer.read() if file == "-" else Path(file or "").read_bytes()
        value = orjson.loads(content)
    except OSError as error:
        raise UsageFailed(f"{file} cannot be read: {error.strerror or error}") from None
    except orjson.JSONDecodeError as error:
        raise UsageFailed(f"the event is not JSON ({error})") from None
    if not isinstance(value, dict):
        raise UsageFailed("the event is one JSON object")
    return value


def _trial_lines(found: Mapping[str, Any]) -> Iterator[str]:
    if found["schema_violation"]:
        yield f"its schema does not let it in: {found['schema_violation']}"
    if found["addressed"]:
        yield f"it names a DAG itself and starts it, whatever triggers say: {found['addressed']}"
    for one in found["triggers"]:
        matched = one["explanation"]["matched"]
        yield f"{one['trigger']}: {'matches' if matched else 'does not match'}{' (paused)' if one['paused'] else ''}"
        yield from explanation_lines(one["explanation"])
        yield from (f"  {line}" for line in one["admission"] if matched)
        if matched:
            yield f"  {_start(one)}"
    if found["unmatched"]:
        yield f"{found['unmatched']} triggers do not match"


def _start(one: Mapping[str, Any]) -> str:
    import orjson

    if one["problem"]:
        return f"no run: {one['problem']}"
    if one["unknown"]:
        return f"starts {one['dag']}; its parameters are not known here: {one['unknown']}"
    return f"starts {one['dag']} {orjson.dumps(one['parameters']).decode()}"


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items())
