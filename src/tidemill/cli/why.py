"""`tidemill events why` and `why-not`: what each trigger of that time said of an event, and what became of it there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from tidemill.cli.asking import To, asking
from tidemill.cli.failures import CommandFailed, UsageFailed, failures_reported
from tidemill.cli.options import Output
from tidemill.cli.server import Server
from tidemill.cli.terminal import clean, print_json, when

__all__ = ["explanation_lines", "why", "why_not"]

Place = Annotated[
    list[str],
    typer.Argument(help="Its place in the log, or its SOURCE and ID.", metavar="POSITION | SOURCE ID"),
]
Trigger = Annotated[str | None, typer.Option("--trigger", help="Only this trigger.")]


@asking
def why(
    place: Place,
    trigger: Trigger = None,
    limit: Annotated[
        int, typer.Option("--limit", min=0, max=1000, help="Most triggers that did not match.")
    ] = 20,
    *,
    to: To,
) -> None:
    """Show for each trigger of that time whether it matched, by which values, what its admission decided, and the run.

    An event is named by its position or by its source and id.
    """
    with failures_reported():
        _check(place)
    found = to.ask(lambda server: _ask(server, place, trigger=trigger, limit=limit))
    if to.output is Output.JSON:
        print_json(found)
        return
    _say(_head(found))
    for one in found["triggers"]:
        _say(["", *_lines(one)])
    if found["omitted"]:
        _say(["", f"{found['omitted']} more triggers did not match: --trigger NAME or --limit"])


@asking
def why_not(
    place: Place, trigger: Annotated[str, typer.Option("--trigger", help="The trigger.")], *, to: To
) -> None:
    """Show what kept an event from starting a run by a trigger: what failed first, then all of it."""
    with failures_reported():
        _check(place)
    found = to.ask(lambda server: _ask(server, place, trigger=trigger, limit=0))
    if to.output is Output.JSON:
        print_json(found)
        return
    (one,) = found["triggers"]
    _say([*_head(found), "", *_stopped(one), *_lines(one)])


async def _ask(server: Server, place: list[str], *, trigger: str | None, limit: int) -> Any:
    position = place[0]
    if len(place) == 2:
        page = await server.get("events", source=place[0], id=place[1], limit=1)
        if not page["items"]:
            raise CommandFailed("there is no such event")
        position = str(page["items"][0]["position"])
    return await server.get("events", position, "why", trigger=trigger, limit=limit)


def _check(place: list[str]) -> None:
    if len(place) > 2 or (len(place) == 1 and not (place[0].isascii() and place[0].isdecimal())):
        raise UsageFailed("an event is named by its POSITION, or by its SOURCE and ID")


def _say(lines: list[str]) -> None:
    for line in lines:
        typer.echo(clean(line))


def _head(found: Mapping[str, Any]) -> list[str]:
    event = f"{found['type']} {found['id']} of {found['source']}"
    version = (
        f"under version {found['version']}" if found["version"] else "under a version that is not recorded"
    )
    return [f"position {found['position']}: {event}, {version}", found["told"]]


def _stopped(one: Mapping[str, Any]) -> Iterator[str]:
    """What stood in the way, first things first."""
    explanation = one["explanation"]
    if one["became"] in ("run", "waiting"):
        yield f"nothing stood in the way: {one['told']}"
    elif explanation is not None and explanation["failed"]:
        yield f"failed first: {explanation['failed'][0]}"
        for other in explanation["failed"][1:]:
            yield f"  and then:   {other}"
    else:
        yield f"stopped by: {one['told']}"


def _lines(one: Mapping[str, Any]) -> Iterator[str]:
    yield f"{one['trigger']}: {one['told']}"
    if one["explanation"] is not None:
        yield from explanation_lines(one["explanation"])
    for step in one["steps"]:
        key = f" [key {step['key']}]" if step["key"] else ""
        until = f", until {when(step['until'])}" if step["until"] else ""
        yield f"  {step['stage']}: {step['verdict'].replace('_', ' ')}: {step['told']}{key}{until}"
    run = one["run"]
    if run is not None and run["dag"] is None:
        yield f"  run {run['id']}, which is not kept any more"
    elif run is not None:
        yield f"  run {run['id']} of {run['dag']} ({run['state']}) {_json(run['parameters'])}"
    if one["now"] is not None and (
        one["explanation"] is None or one["now"]["tree"] != one["explanation"]["tree"]
    ):
        yield f"  as the trigger is now, it {'matches' if one['now']['matched'] else 'does not match'}:"
        yield from explanation_lines(one["now"], indent="    ")


def explanation_lines(explanation: Mapping[str, Any], *, indent: str = "  ") -> Iterator[str]:
    """The tree of clauses as text."""
    for line in explanation["lines"]:
        yield indent + line


def _json(value: object) -> str:
    import orjson

    return orjson.dumps(value).decode()
