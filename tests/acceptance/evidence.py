"""What is left when a service was killed and restarted: its database, and what the outside wrote down.

Plain sqlite3 and JSON: nothing here or in the checker comes from the package under test, so that a mistake there
cannot hide itself. What was kept in PostgreSQL is copied into a SQLite file first (see `databases`).

The outside's files are JSON lines:

- `effects.jsonl`: one line per execution of a task (run, task, attempt, pid, at), written by the tasks;
- `sent.jsonl`: what the senders tried and what was acknowledged;
- `received.jsonl`: every request the webhook receiver got, and what it answered;
- `stream.jsonl`: every event the reader of the event stream saw;
- `topic.jsonl`: every record of the topic that completions are delivered to.
"""

from __future__ import annotations

import bisect
import contextlib
import json
import sqlite3
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

__all__ = [
    "Became",
    "Evidence",
    "Line",
    "Logged",
    "Row",
    "Run",
    "Story",
    "connect",
    "read_evidence",
    "read_lines",
]

Line = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Logged:
    """One event of the log."""

    position: int
    type: str
    source: str
    id: str
    body: Mapping[str, Any]
    received_at: int

    @property
    def identity(self) -> tuple[str, str]:
        return self.source, self.id


@dataclass(frozen=True, slots=True)
class Run:
    """One summary row."""

    run_id: str
    dag: str
    state: str
    trigger: str
    position: int
    event_source: str
    event_id: str
    started_at: int | None
    ended_at: int | None
    hop_count: int
    queued_at: int
    parameters: Mapping[str, Any]


class Became(NamedTuple):
    """One disposition."""

    position: int
    trigger: str
    kind: str
    run_id: str | None
    detail: str


@dataclass(frozen=True, slots=True)
class Row:
    """One history row: its number, its time in microseconds, its records."""

    sequence: int
    at: int
    records: Sequence[Sequence[Any]]


Story = Sequence[Row]


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything the checker looks at."""

    expected: Mapping[str, Any]
    events: Sequence[Logged]
    dispositions: Sequence[Became]
    #: (position, trigger, stage) of what waits in an admission.
    held: Sequence[tuple[int, str, str]]
    #: (position, triggers that events after it were routed under), in order.
    live: Sequence[tuple[int, frozenset[str]]]
    runs: Sequence[Run]
    histories: Mapping[str, Story]
    #: (subscription, position, state).
    deliveries: Sequence[tuple[str, int, str]]
    #: (stage, code, coordinates, position).
    dead_letters: Sequence[tuple[str, str, Mapping[str, Any], int | None]]
    #: Paths of announced file versions.
    files: Sequence[str]
    router_cursor: int
    open_requests: int
    effects: Sequence[Line]
    sent: Sequence[Line]
    received: Sequence[Line]
    stream: Sequence[Line]
    #: None where there is no broker.
    topic: Sequence[Line] | None

    def live_at(self, position: int) -> frozenset[str]:
        """Names of the triggers that the event at `position` was routed under."""
        place = bisect.bisect_left(self.live, position, key=lambda one: one[0])
        return self.live[place - 1][1] if place else frozenset()


def connect(database: Path) -> contextlib.closing[sqlite3.Connection]:
    """The database, for reading only."""
    return contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True))


def read_lines(path: Path) -> list[Line]:
    """The complete lines of a file; an absent file has none."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


def read_evidence(folder: Path, expected: Path) -> Evidence:
    """The evidence below `folder`: the project's database (or its copy) in `project/`, and the outside's files."""
    with connect(folder / "project" / ".tidemill" / "tidemill.db") as database:
        cursors = dict(database.execute("SELECT name, value FROM cursors"))
        return Evidence(
            expected=json.loads(expected.read_text("utf-8")),
            events=[
                _logged(*row)
                for row in database.execute(
                    "SELECT position, type, source, body, received_at FROM events ORDER BY position"
                )
            ],
            dispositions=[
                Became(*row)
                for row in database.execute(
                    "SELECT position, trigger, kind, run_id, detail FROM dispositions"
                )
            ],
            held=database.execute("SELECT position, trigger, stage FROM held_events").fetchall(),
            live=[
                (
                    position,
                    frozenset(entry["name"] for kind, entry in json.loads(written) if kind == "triggers"),
                )
                for position, written in database.execute(
                    "SELECT position, written FROM routed_under JOIN definitions USING (version)"
                    " ORDER BY position"
                )
            ],
            runs=[
                _run(*row)
                for row in database.execute(
                    "SELECT run_id, dag, state, trigger, position, event_source, event_id, started_at, ended_at,"
                    " hop_count, queued_at, parameters FROM runs"
                )
            ],
            histories=_histories(database),
            deliveries=database.execute("SELECT subscription, position, state FROM deliveries").fetchall(),
            dead_letters=[
                (stage, code, json.loads(coordinates), position)
                for stage, code, coordinates, position in database.execute(
                    "SELECT stage, code, coordinates, position FROM dead_letters"
                )
            ],
            files=[path for (path,) in database.execute("SELECT path FROM files")],
            router_cursor=int(cursors.get("router", "0")),
            open_requests=database.execute("SELECT count(*) FROM requests").fetchone()[0],
            effects=read_lines(folder / "effects.jsonl"),
            sent=read_lines(folder / "sent.jsonl"),
            received=read_lines(folder / "received.jsonl"),
            stream=read_lines(folder / "stream.jsonl"),
            topic=read_lines(folder / "topic.jsonl") if (folder / "topic.jsonl").exists() else None,
        )


def _logged(position: int, kind: str, source: str, body: bytes, received_at: int) -> Logged:
    event = json.loads(body)
    return Logged(position, kind, source, event["id"], event, received_at)


def _run(*row: Any) -> Run:
    values: tuple[Any, ...] = (*row[:-1], json.loads(row[-1]))
    return Run(*values)


def _histories(database: sqlite3.Connection) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = defaultdict(list)
    rows = database.execute(
        "SELECT runs.run_id, sequence, at, body FROM history JOIN runs ON runs.number = history.run"
        " ORDER BY history.run, sequence"
    )
    for run_id, sequence, at, body in rows:
        found[run_id].append(Row(sequence, at, json.loads(body)))
    return found
