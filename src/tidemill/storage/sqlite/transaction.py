"""One commit on SQLite: what must be known is looked up, the jobs become rows, the rows are written table by table.

Runs in the connection's thread and calls nothing outside this package. Positions, run numbers and cursors are known
without asking: nobody else writes this database.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from tidemill.storage.commit import Commit, Facts, Job, looked_up
from tidemill.storage.sqlite.connection import insert_rows
from tidemill.storage.sqlite.queries import QUERIES

__all__ = ["Positions", "Transaction"]

#: Values that one SELECT looks up.
_LOOKUPS = (1, 8, 32, 64, 128, 256)
#: Short names of runs kept in memory; older ones are looked up again.
_KEPT_NUMBERS = 50_000


@dataclass(slots=True)
class Positions:
    """What the writer knows without asking: it is the only one who changes it."""

    head: int
    run_number: int
    cursors: dict[str, str]
    #: Short names of runs that were written lately.
    numbers: dict[str, int] = field(default_factory=dict)


class Transaction:
    """One transaction of the writing connection."""

    def __init__(self, connection: sqlite3.Connection, known: Positions) -> None:
        self._connection = connection
        self._known = known
        self._run_number = known.run_number
        self._commit: Commit | None = None

    @property
    def commit(self) -> Commit:
        """What was gathered; there is something once `run` has begun."""
        assert self._commit is not None  # noqa: S101 - only asked for after `run`
        return self._commit

    def run(self, jobs: Sequence[Job], probe: Callable[[str], None] | None = None) -> list[Any]:
        """Do all jobs in one transaction; the answer of each, an exception for a job that was refused.

        On return everything is on disk. Raises `sqlite3.Error` when nothing is.
        """
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        commit = self._commit = Commit(self._facts(jobs))
        answers = [commit.do(job) for job in jobs]
        self._write(commit)
        if probe:
            for kind in sorted({job.kind for job in jobs}):
                probe(f"{kind}.before_commit")
        connection.execute("COMMIT")
        if probe:
            for kind in sorted({job.kind for job in jobs}):
                probe(f"{kind}.after_commit")
        self._adopt(commit)
        return answers

    def _facts(self, jobs: Sequence[Job]) -> Facts:
        known, wanted = self._known, looked_up(jobs)
        numbers = known.numbers
        if unknown := wanted.runs - numbers.keys():
            numbers.update(self._select_in("run_numbers", sorted(unknown)))
        found = [
            *self._select_in("known_identities", wanted.keys),
            *self._select_in("known_events", wanted.keys),
        ]
        return Facts(
            head=known.head,
            cursors=known.cursors,
            numbers=numbers,
            identities={key: (position, digest) for key, position, digest in found},
            files={
                one
                for one in wanted.files
                if self._connection.execute(QUERIES["known_files"], one).fetchone()
            },
            waited_for=self._waited_for(wanted.waits),
            next_number=self._next_number,
        )

    def _waited_for(self, keys: Collection[str]) -> set[str]:
        if not keys:
            return set()
        listed = orjson.dumps(sorted(keys)).decode()
        return {key for (key,) in self._connection.execute(QUERIES["waited_for"], (listed,))}

    def _next_number(self) -> int:
        self._run_number += 1
        return self._run_number

    def _select_in(self, query: str, values: Sequence[Any]) -> Iterable[tuple[Any, ...]]:
        start = 0
        while left := len(values) - start:
            # Few sizes, so that the statement cache holds them all; what is missing repeats the last value.
            size = next((size for size in _LOOKUPS if left <= size), _LOOKUPS[-1])
            chunk = list(values[start : start + size])
            chunk += [chunk[-1]] * (size - len(chunk))
            statement = f"{QUERIES[query]} ({','.join('?' * size)})"
            yield from self._connection.execute(statement, chunk)
            start += min(size, left)

    def _write(self, commit: Commit) -> None:
        for query, rows in commit.rows.items():
            statement = QUERIES[query]
            if statement.endswith("VALUES"):
                insert_rows(self._connection, statement, rows)
            else:
                self._connection.executemany(statement, rows)
        if commit.cursors:
            self._connection.executemany(QUERIES["upsert_cursor"], list(commit.cursors.items()))

    def _adopt(self, commit: Commit) -> None:
        known = self._known
        known.head = commit.head
        known.run_number = self._run_number
        known.cursors.update(commit.cursors)
        for name, value in commit.rows.get("drop_cursor", ()):
            if known.cursors.get(name) == value:
                del known.cursors[name]
        known.numbers.update(commit.numbers)
        for run in commit.ended:
            known.numbers.pop(run, None)
        while len(known.numbers) > _KEPT_NUMBERS:
            known.numbers.pop(next(iter(known.numbers)))
