"""What one commit does: the jobs that were waiting, checked and written together.

1. A job that does not fit (a moved cursor, a reused identity) is answered with its error and writes nothing; the
   others are not touched by it.
2. Positions and run numbers are given here, in the writing transaction: nobody else gives them.
3. Everything runs in the connection's thread and calls nothing outside this package.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tidemill.errors import CursorMoved, EventRejected, StorageError
from tidemill.events.event import Event, LoggedEvent
from tidemill.ids import new_id
from tidemill.storage.contract import (
    Append,
    Appended,
    DeadLetter,
    Delivery,
    DeliveryMark,
    Disposition,
    FileVersion,
    NewRun,
    Recorded,
    RouteBatch,
)
from tidemill.storage.sqlite.connection import insert_rows
from tidemill.storage.sqlite.queries import QUERIES
from tidemill.storage.sqlite.rows import dead_letter_row

__all__ = [
    "ROUTER_CURSOR",
    "AppendJob",
    "EventRow",
    "Job",
    "MarkJob",
    "Positions",
    "RecordJob",
    "RouteJob",
    "StatementJob",
    "Transaction",
]

ROUTER_CURSOR = "router"


@dataclass(slots=True)
class EventRow:
    """An event ready to be written, all but its position."""

    event: Event
    key: bytes
    digest: bytes
    received_at: int
    body: bytes


@dataclass(slots=True)
class AppendJob:
    kind = "append"
    append: Append
    rows: Sequence[EventRow]
    at: int


@dataclass(slots=True)
class RouteJob:
    kind = "route"
    batch: RouteBatch


@dataclass(slots=True)
class RecordJob:
    kind = "record"
    recorded: Sequence[Recorded]
    rows: Sequence[EventRow]


@dataclass(slots=True)
class MarkJob:
    kind = "deliver"
    marks: Sequence[DeliveryMark]
    dead_letters: Sequence[DeadLetter]


@dataclass(slots=True)
class StatementJob:
    kind = "statement"
    #: Name of the query and its rows of parameters.
    statements: Sequence[tuple[str, Sequence[tuple[Any, ...]]]]
    dead_letters: Sequence[DeadLetter] = ()


Job = AppendJob | RouteJob | RecordJob | MarkJob | StatementJob


@dataclass(slots=True)
class Positions:
    """What the writer knows without asking: it is the only one who changes it."""

    head: int
    run_number: int
    cursors: dict[str, str]
    #: Short names of runs that were written lately.
    numbers: dict[str, int] = field(default_factory=dict)


class Transaction:
    """Gathers the rows of all jobs, then writes them table by table."""

    def __init__(self, connection: sqlite3.Connection, known: Positions) -> None:
        self._connection = connection
        self._known = known
        self._head = known.head
        self._run_number = known.run_number
        self._cursors: dict[str, str] = {}
        self._numbers: dict[str, int] = {}
        self._ended: list[str] = []
        self._identities: dict[bytes, tuple[int, bytes]] = {}
        self._rows: dict[str, list[tuple[Any, ...]]] = {}
        self._files: set[FileVersion] = set()
        self.logged: list[tuple[LoggedEvent, int]] = []

    def run(self, jobs: Sequence[Job], probe: Callable[[str], None] | None = None) -> list[Any]:
        """Do all jobs in one transaction; the answer of each, an exception for a job that was refused.

        On return everything is on disk. Raises `sqlite3.Error` when nothing is.
        """
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        self._look_up(jobs)
        answers = [self._do(job) for job in jobs]
        self._write()
        if probe:
            for kind in sorted({job.kind for job in jobs}):
                probe(f"{kind}.before_commit")
        connection.execute("COMMIT")
        if probe:
            for kind in sorted({job.kind for job in jobs}):
                probe(f"{kind}.after_commit")
        self._adopt()
        return answers

    def _look_up(self, jobs: Sequence[Job]) -> None:
        keys = [row.key for job in jobs if isinstance(job, AppendJob) for row in job.rows]
        for key, position, digest in self._select_in("known_events", keys):
            self._identities[key] = (position, digest)
        numbers = self._known.numbers
        unknown = {
            recorded.run_id
            for job in jobs
            if isinstance(job, RecordJob)
            for recorded in job.recorded
            if recorded.run_id not in numbers
        }
        self._numbers.update(self._select_in("run_numbers", sorted(unknown)))

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

    def _do(self, job: Job) -> Any:
        match job:
            case RecordJob():
                return self._record(job)
            case AppendJob():
                return self._append(job)
            case RouteJob():
                return self._route(job.batch)
            case MarkJob():
                return self._mark(job)
            case StatementJob():
                return self._statements(job)

    # ── append ──

    def _append(self, job: AppendJob) -> list[Appended] | Exception:
        for move in job.append.cursors:
            found = self._cursors.get(move.name, self._known.cursors.get(move.name))
            if found != move.expected:
                return CursorMoved(move.name, move.expected, found)
        verdicts = self._verdicts(job)
        if isinstance(verdicts, Exception):
            return verdicts
        for row, answer in zip(job.rows, verdicts, strict=True):
            if answer.position > self._head:
                self._add_event(row)
            elif not answer.position:
                self._add("insert_dead_letter", dead_letter_row(_reused(row, job)))
        for move in job.append.cursors:
            self._cursors[move.name] = move.value
        for version in job.append.files:
            self._add_file(version)
        for letter in job.append.dead_letters:
            self._add("insert_dead_letter", dead_letter_row(letter))
        return verdicts

    def _verdicts(self, job: AppendJob) -> list[Appended] | EventRejected:
        fresh: dict[bytes, tuple[int, bytes]] = {}
        answers: list[Appended] = []
        identities = self._identities
        position = self._head
        for index, row in enumerate(job.rows):
            found = identities.get(row.key) or fresh.get(row.key)
            if found is None:
                position += 1
                fresh[row.key] = (position, row.digest)
                answers.append(Appended(position))
            elif found[1] == row.digest:
                answers.append(Appended(found[0], duplicate=True))
            elif job.append.refuse_reuse:
                detail = (
                    f"event id {row.event.id!r} of source {row.event.source!r} was used for other content"
                )
                return EventRejected("id_reused", detail, attribute="id", index=index)
            else:
                answers.append(Appended(0))
        identities.update(fresh)
        return answers

    def _add_event(self, row: EventRow) -> None:
        self._head = position = self._head + 1
        event = row.event
        self._add(
            "insert_event",
            (position, row.key, row.digest, row.received_at, event.type, event.source, row.body),
        )
        self.logged.append((LoggedEvent(position, row.received_at, event), len(row.body)))

    def _add_file(self, version: FileVersion) -> None:
        identity = (version.source, version.path, version.inode, version.size, version.mtime_ns)
        if version in self._files or self._connection.execute(QUERIES["known_files"], identity).fetchone():
            return
        self._files.add(version)
        self._add("insert_file", (*identity, version.digest))

    # ── route, record, mark ──

    def _route(self, batch: RouteBatch) -> Exception | None:
        found = self._cursors.get(ROUTER_CURSOR, self._known.cursors.get(ROUTER_CURSOR, "0"))
        if found != str(batch.expected):
            return CursorMoved(ROUTER_CURSOR, str(batch.expected), found)
        self._cursors[ROUTER_CURSOR] = str(batch.cursor)
        for disposition in batch.dispositions:
            self._add("insert_disposition", _disposition_row(disposition))
        for run in batch.runs:
            self._run_number += 1
            self._numbers[run.run_id] = self._run_number
            self._add("insert_run", _run_row(self._run_number, run))
        for delivery in batch.deliveries:
            self._add("insert_delivery", _delivery_row(delivery))
        for letter in batch.dead_letters:
            self._add("insert_dead_letter", dead_letter_row(letter))
        return None

    def _record(self, job: RecordJob) -> Exception | None:
        numbers, known = self._numbers, self._known.numbers
        history: list[tuple[Any, ...]] = []
        for recorded in job.recorded:
            number = known.get(recorded.run_id) or numbers.get(recorded.run_id)
            if number is None:
                return StorageError(f"there is no run {recorded.run_id}")
            history.append((number, recorded.sequence, recorded.at, recorded.body))
        self._rows.setdefault("insert_history", []).extend(history)
        for recorded, row in zip(job.recorded, history, strict=True):
            if recorded.summary:
                end = recorded.summary
                self._add("update_run", (end.state, end.started_at, end.ended_at, row[0]))
                if end.ended_at is not None:
                    self._ended.append(recorded.run_id)
        for event_row in job.rows:
            self._add_event(event_row)
        return None

    def _mark(self, job: MarkJob) -> None:
        for mark in job.marks:
            self._add(
                "update_delivery",
                (mark.state, mark.attempts, mark.due_at, mark.detail, mark.position, mark.subscription),
            )
        for letter in job.dead_letters:
            self._add("insert_dead_letter", dead_letter_row(letter))

    def _statements(self, job: StatementJob) -> None:
        for name, rows in job.statements:
            self._rows.setdefault(name, []).extend(rows)
        for letter in job.dead_letters:
            self._add("insert_dead_letter", dead_letter_row(letter))

    # ── writing ──

    def _add(self, query: str, row: tuple[Any, ...]) -> None:
        self._rows.setdefault(query, []).append(row)

    def _write(self) -> None:
        for query, rows in self._rows.items():
            statement = QUERIES[query]
            if statement.endswith("VALUES"):
                insert_rows(self._connection, statement, rows)
            else:
                self._connection.executemany(statement, rows)
        if self._cursors:
            self._connection.executemany(QUERIES["upsert_cursor"], list(self._cursors.items()))

    def _adopt(self) -> None:
        known = self._known
        known.head = self._head
        known.run_number = self._run_number
        known.cursors.update(self._cursors)
        known.numbers.update(self._numbers)
        for run in self._ended:
            known.numbers.pop(run, None)
        while len(known.numbers) > _KEPT_NUMBERS:
            known.numbers.pop(next(iter(known.numbers)))


#: Values that one SELECT looks up.
_LOOKUPS = (1, 8, 32, 64, 128, 256)
#: Short names of runs kept in memory; older ones are looked up again.
_KEPT_NUMBERS = 50_000


def _reused(row: EventRow, job: AppendJob) -> DeadLetter:
    return DeadLetter(
        id=new_id(),
        at=job.at,
        stage=job.append.stage,
        code="id_reused",
        detail="the identity is in the log with other content",
        origin=job.append.origin,
        coordinates={"source": row.event.source, "id": row.event.id},
        body=row.body,
    )


def _disposition_row(disposition: Disposition) -> tuple[Any, ...]:
    return (
        disposition.position,
        disposition.trigger,
        disposition.kind,
        disposition.run_id,
        disposition.detail,
    )


def _run_row(number: int, run: NewRun) -> tuple[Any, ...]:
    return (
        number,
        run.run_id,
        run.dag,
        run.version,
        "queued",
        run.trigger,
        run.position,
        run.event_source,
        run.event_id,
        run.parameters,
        run.queued_at,
        run.correlation_id,
        run.hop_count,
        run.traceparent,
    )


def _delivery_row(delivery: Delivery) -> tuple[Any, ...]:
    return (delivery.subscription, delivery.position, "pending", delivery.attempts, delivery.due_at, "")
