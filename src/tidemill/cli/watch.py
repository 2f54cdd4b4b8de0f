"""Following runs: each change told once, in order, until there is nothing more to come."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

from tidemill.cli.failures import CommandFailed
from tidemill.cli.options import Output
from tidemill.cli.server import AnswerFailed, Server
from tidemill.cli.terminal import clean, console, print_json, state_style, when

__all__ = ["follow", "follow_all", "until_ended"]

_POLL_SECONDS = 0.1
_FINAL = frozenset({"succeeded", "failed", "cancelled"})
_COMPLETIONS = [f"dev.tidemill.run.{state}.v1" for state in sorted(_FINAL)]


async def follow(server: Server, run_id: str, output: Output) -> Mapping[str, Any]:
    """Tell every change of a run and its tasks; the run with its tasks when it has ended."""
    told: dict[str | None, tuple[str, int]] = {}
    while True:
        run: Mapping[str, Any] = await server.get("runs", run_id)
        for change in _changes(run, told):
            _tell(change, output)
        if run["state"] in _FINAL:
            return run
        if server.is_offline:
            raise CommandFailed(f"run {run_id} is {run['state']}, and no server runs for this project")
        await asyncio.sleep(_POLL_SECONDS)


async def until_ended(server: Server, run_id: str) -> Mapping[str, Any]:
    """The run with its tasks when it has ended; one that is asked for and not yet there is waited for."""
    while True:
        try:
            run: Mapping[str, Any] = await server.get("runs", run_id)
        except AnswerFailed as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
        else:
            if run["state"] in _FINAL:
                return run
        await asyncio.sleep(_POLL_SECONDS)


async def follow_all(server: Server, output: Output) -> None:
    """Tell every run as it ends, until the command is interrupted."""
    if server.is_offline:
        raise CommandFailed("no server runs for this project; start one with `tidemill serve`")
    async for _, event in server.stream(type=_COMPLETIONS):
        run = await server.get("runs", str(event["subject"]))
        if output is Output.JSON:
            print_json(run, one_line=True)
        else:
            _print_line(when(run["ended_at"]), run["id"], run["dag"], run["state"])


def _changes(run: Mapping[str, Any], told: dict[str | None, tuple[str, int]]) -> Iterator[dict[str, Any]]:
    """What is new in `run` since the last look; the end of the run comes last."""
    is_over = run["state"] in _FINAL
    if not is_over:
        yield from _change(run, None, run["state"], 0, run["started_at"] or run["queued_at"], told)
    for task in run.get("tasks", ()):
        at = task["ended_at"] or task["started_at"]
        yield from _change(run, task["id"], task["state"], task["attempts"], at, told)
    if is_over:
        yield from _change(run, None, run["state"], 0, run["ended_at"], told)


def _change(
    run: Mapping[str, Any],
    task: str | None,
    state: str,
    attempt: int,
    at: str | None,
    told: dict[str | None, tuple[str, int]],
) -> Iterator[dict[str, Any]]:
    if told.get(task) == (state, attempt):
        return
    told[task] = (state, attempt)
    yield {"run": run["id"], "dag": run["dag"], "task": task, "state": state, "attempt": attempt, "at": at}


def _tell(change: Mapping[str, Any], output: Output) -> None:
    if output is Output.JSON:
        print_json(change, one_line=True)
    elif change["state"] != "pending":
        again = f"attempt {change['attempt']}" if change["attempt"] > 1 else ""
        _print_line(when(change["at"]) or " " * 19, change["task"] or change["dag"], change["state"], again)


def _print_line(*words: str) -> None:
    from rich.text import Text

    line = Text("  ").join(Text(clean(word), style=state_style(word)) for word in words if word)
    console().print(line, soft_wrap=True)
