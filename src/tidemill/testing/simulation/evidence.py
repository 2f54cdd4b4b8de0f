"""What the model judges by: what the outside saw, and the rows that were on the disk when all was over."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from tidemill.testing.simulation.disk import Commit, Disk
from tidemill.testing.simulation.observed import Observed

__all__ = ["Entry", "Evidence", "Logged", "Run", "read_evidence"]


@dataclass(frozen=True, slots=True)
class Logged:
    """One event of the log."""

    position: int
    received_at: int
    source: str
    id: str
    type: str
    subject: str | None
    data: Any
    extensions: Mapping[str, Any]
    #: Number of the commit that wrote it.
    commit: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One record of a run's history."""

    kind: str
    values: Sequence[Any]
    sequence: int
    #: Wall time that it says.
    at: int
    commit: int
    #: Microseconds since the beginning at which it came to the disk.
    at_us: int


@dataclass(frozen=True, slots=True)
class Run:
    """One run with its history."""

    number: int
    run_id: str
    dag: str
    state: str
    trigger: str
    position: int
    queued_at: int
    started_at: int | None
    ended_at: int | None
    #: Number of the commit that made it.
    commit: int
    at_us: int
    entries: Sequence[Entry]


@dataclass(frozen=True, slots=True)
class Evidence:
    """All of it."""

    observed: Observed
    commits: Sequence[Commit]
    #: In the order of the log.
    events: Sequence[Logged]
    #: By id, in the order in which they were made.
    runs: Mapping[str, Run]
    #: (position, trigger) to kind, run and detail.
    dispositions: Mapping[tuple[int, str], tuple[str, str | None, str]]
    #: (position, subscription) to state and attempts.
    deliveries: Mapping[tuple[int, str], tuple[str, int]]
    #: Stage, code, position, coordinates.
    letters: Sequence[tuple[str, str, int | None, Mapping[str, Any]]]


def read_evidence(disk: Disk, observed: Observed) -> Evidence:
    """Read everything off the disk."""
    rows, commits = disk.rows, disk.commits
    events = [commit.events for commit in commits]
    history = [commit.history for commit in commits]
    made = [commit.runs for commit in commits]
    entries: dict[int, list[Entry]] = {}
    query = "SELECT run, sequence, at, body, rowid FROM history ORDER BY run, sequence"
    for run, sequence, at, body, row in rows(query):
        commit = bisect_left(history, row)
        for record in orjson.loads(body):
            entry = Entry(record[0], record[1:], sequence, at, commit, commits[commit].at_us)
            entries.setdefault(run, []).append(entry)
    query = (
        "SELECT number, run_id, dag, state, trigger, position, queued_at, started_at, ended_at"
        " FROM runs ORDER BY number"
    )
    runs: dict[str, Run] = {}
    for row in rows(query):
        commit = bisect_left(made, row[0])
        more = (commit, commits[commit].at_us, entries.get(row[0], []))
        runs[row[1]] = Run(*(*row, *more))
    return Evidence(
        observed=observed,
        commits=commits,
        events=[
            _logged(position, received_at, body, bisect_left(events, position))
            for position, received_at, body in rows(
                "SELECT position, received_at, body FROM events ORDER BY position"
            )
        ],
        runs=runs,
        dispositions={
            (position, trigger): (kind, run, detail)
            for position, trigger, kind, run, detail in rows(
                "SELECT position, trigger, kind, run_id, detail FROM dispositions"
            )
        },
        deliveries={
            (position, subscription): (state, attempts)
            for position, subscription, state, attempts in rows(
                "SELECT position, subscription, state, attempts FROM deliveries"
            )
        },
        letters=[
            (stage, code, position, orjson.loads(place))
            for stage, code, position, place in rows(
                "SELECT stage, code, position, coordinates FROM dead_letters"
            )
        ],
    )


def _logged(position: int, received_at: int, body: bytes, commit: int) -> Logged:
    fields = orjson.loads(body)
    known = {"specversion", "id", "source", "type", "subject", "time", "datacontenttype", "data"}
    return Logged(
        position,
        received_at,
        fields["source"],
        fields["id"],
        fields["type"],
        fields.get("subject"),
        fields.get("data"),
        {name: value for name, value in fields.items() if name not in known},
        commit,
    )
