"""Watches until every input has come to its end: run, completion, report, and both completions delivered."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from demo.inputs import Input, Run
from demo.receiver import Receiver

__all__ = ["Watch"]

_SECONDS = 60.0
_POLL_SECONDS = 0.1
_FINAL = frozenset({"succeeded", "failed", "cancelled"})
_STYLES = {"succeeded": "green", "failed": "red", "cancelled": "yellow", "running": "cyan"}


@dataclass(slots=True)
class Row:
    """One run that must come, succeed and be delivered."""

    cause: str
    dag: str
    run: dict[str, Any] | None = None
    delivered: bool = False

    @property
    def state(self) -> str:
        """The run's state, or that it is not there yet."""
        return "awaited" if self.run is None else str(self.run["state"])

    @property
    def tasks(self) -> str:
        """How many tasks have succeeded, and how many attempts that took where it was more."""
        tasks = [] if self.run is None else self.run["tasks"]
        done = sum(task["state"] == "succeeded" for task in tasks)
        again = sum(max(0, task["attempts"] - 1) for task in tasks)
        return f"{done}/{len(tasks)}" + (f", {again} retried" if again else "")

    @property
    def is_good(self) -> bool:
        """Whether everything about it has happened as it must."""
        return self.state == "succeeded" and self.delivered

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen."""
        return self.is_good or (self.state in _FINAL and self.state != "succeeded")


class Watch:
    """The inputs, their runs and what the receiver got."""

    def __init__(self, url: str, inputs: Sequence[Input], receiver: Receiver, console: Console) -> None:
        self._client = httpx.Client(base_url=f"{url}/api/v1", trust_env=False)
        self._inputs = inputs
        self._receiver = receiver
        self._console = console
        self._rows = [Row(one.door, one.dag) for one in inputs]
        self._reports = {
            place: Row(f"completion of {one.dag}", "daily_report")
            for place, one in enumerate(inputs)
            if one.is_reported
        }
        self._told: dict[int, str] = {}

    def until_done(self) -> bool:
        """Show progress until all is well or the time is over; whether all is well."""
        deadline = time.monotonic() + _SECONDS
        with Live(console=self._console, auto_refresh=False, transient=False) as live:
            while True:
                self._look()
                if self._console.is_terminal:
                    live.update(self._table(), refresh=True)
                else:
                    self._tell()
                if all(row.is_over for row in self._all()) or time.monotonic() > deadline:
                    break
                time.sleep(_POLL_SECONDS)
        self._client.close()
        return all(row.is_good for row in self._all())

    def _all(self) -> Iterator[Row]:
        yield from self._rows
        yield from self._reports.values()

    def _look(self) -> None:
        for place, (one, row) in enumerate(zip(self._inputs, self._rows, strict=True)):
            self._refresh(row, one.is_its_run)
            report = self._reports.get(place)
            if report is not None and row.run is not None:
                completion = f"{row.run['id']}/succeeded"
                self._refresh(report, lambda run, id=completion: run["event"]["id"] == id)  # noqa: A006

    def _refresh(self, row: Row, is_its_run: Any) -> None:
        if row.is_over:
            return
        if row.run is None:
            runs: list[Run] = self._get("/runs", dag=row.dag, limit=200)["items"]
            found = next((run for run in runs if is_its_run(run)), None)
            if found is None:
                return
            row.run = self._get(f"/runs/{found['id']}")
        elif row.state not in _FINAL:
            row.run = self._get(f"/runs/{row.run['id']}")
        row.delivered = self._receiver.has(f"{row.run['id']}/{row.state}")

    def _get(self, path: str, **where: Any) -> Any:
        answer = self._client.get(path, params=where)
        answer.raise_for_status()
        return answer.json()

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for title in ("started by", "dag", "state", "tasks", "completion received"):
            table.add_column(title, no_wrap=True)
        for row in self._all():
            state = Text(row.state, style=_STYLES.get(row.state, "dim"))
            received = Text("yes, signature valid", style="green") if row.delivered else Text("")
            table.add_row(row.cause, row.dag, state, row.tasks, received)
        return table

    def _tell(self) -> None:
        for place, row in enumerate(self._all()):
            line = f"{row.dag}: {row.state}, tasks {row.tasks}" + (", completion received" * row.delivered)
            if self._told.get(place) != line:
                self._told[place] = line
                self._console.print(line)
