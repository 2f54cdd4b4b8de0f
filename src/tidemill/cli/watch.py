"""Following runs: each change told once, in order, until there is nothing more to come."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

from tidemill.cli.analysis import told_seconds
from tidemill.cli.failures import CommandFailed
from tidemill.cli.options import Output
from tidemill.cli.server import AnswerFailed, Server
from tidemill.cli.terminal import clean, console, print_json, state_style, when

__all__ = ["follow", "follow_all", "told_progress", "until_ended"]

_POLL_SECONDS = 0.1
#: A look may take at most a fourth of the time: runs of many tasks are looked at less often.
_PATIENCE = 3
#: Between two lines that tell how far the run is, in seconds.
_PROGRESS_SECONDS = 1.0
_FINAL = frozenset({"succeeded", "failed", "cancelled"})
_COMPLETIONS = [f"dev.tidemill.run.{state}.v1" for state in sorted(_FINAL)]


async def follow(server: Server, run_id: str, output: Output) -> Mapping[str, Any]:
    """Tell every change of a run and its tasks; the run with its tasks when it has ended."""
    told: dict[str | None, tuple[str, int]] = {}
    pace = _Pace()
    while True:
        asked = time.monotonic()
        run: Mapping[str, Any] = await server.get("runs", run_id)
        took = time.monotonic() - asked
        for change in _changes(run, told):
            _tell(change, output)
        if run["state"] in _FINAL:
            return run
        if server.is_offline:
            raise CommandFailed(f"run {run_id} is {run['state']}, and no server runs for this project")
        if pace.has_news(run.get("progress")):
            _tell_progress(run, output)
        await asyncio.sleep(max(_POLL_SECONDS, _PATIENCE * took))


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


def told_progress(progress: Mapping[str, Any]) -> str:
    """How far a run is, in one line."""
    words = [f"{progress['done']} of {progress['total']} tasks"]
    words += [f"{progress[name]} {name}" for name in ("failed", "running", "waiting") if progress.get(name)]
    if progress["remaining_seconds"] is not None:
        words.append(f"about {told_seconds(progress['remaining_seconds'])} left")
    return ", ".join(words)


class _Pace:
    """When there is something new to say of how far a run is, and when to say it."""

    def __init__(self) -> None:
        self._told: tuple[int, ...] = ()
        self._at = time.monotonic()

    def has_news(self, progress: Mapping[str, Any] | None) -> bool:
        """Whether to tell it now."""
        if progress is None or not progress["done"] or time.monotonic() - self._at < _PROGRESS_SECONDS:
            return False
        news = (progress["done"], progress["total"], progress["failed"])
        if news == self._told:
            return False
        self._told, self._at = news, time.monotonic()
        return True


def _tell_progress(run: Mapping[str, Any], output: Output) -> None:
    if output is Output.JSON:
        print_json({"run": run["id"], "dag": run["dag"], "progress": run["progress"]}, one_line=True)
    else:
        _print_line(" " * 19, run["dag"], told_progress(run["progress"]))


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
