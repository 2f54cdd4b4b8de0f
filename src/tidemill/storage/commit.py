"""What one commit does, whatever database it goes to: jobs are checked against what is known, and become rows.

1. A job that does not fit (a moved cursor, a reused identity) is answered with its error and adds no row; the others
   are not touched by it.
2. Pure: what must be known (`Facts`) was looked up in the writing transaction before; positions and run numbers are
   given here, and nobody else gives them.
3. Rows are gathered per named query, so that a database writes each table with as few statements as it can.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from tidemill.errors import CursorMoved, EventRejected, StorageError
from tidemill.events.digest import body_digest, content_digest, encode_for_log, identity_key
from tidemill.events.event import Event, LoggedEvent
from tidemill.ids import new_id
from tidemill.storage.contract import (
    AdmissionChanges,
    Append,
    Appended,
    Asked,
    DeadLetter,
    Delivery,
    DeliveryMark,
    Disposition,
    FileVersion,
    NewRun,
    Recorded,
    Reuse,
    RouteBatch,
    Wait,
    WaitChanges,
)
from tidemill.storage.rows import dead_letter_row

__all__ = [
    "ADMISSION_CURSOR",
    "PATTERNS_CURSOR",
    "ROUTER_CURSOR",
    "AppendJob",
    "Commit",
    "EventRow",
    "Facts",
    "Job",
    "MarkJob",
    "RecordJob",
    "RouteJob",
    "StatementJob",
    "Statements",
    "changes_subscriptions",
    "event_row",
    "file_identity",
    "looked_up",
    "own_event_row",
    "rows_of",
]

ROUTER_CURSOR = "router"
#: Counts the changes of what waits in admission.
ADMISSION_CURSOR = "admission"
#: Counts the changes of the patterns that are waited for.
PATTERNS_CURSOR = "wait_patterns"


@dataclass(slots=True)
class EventRow:
    """An event ready to be written, all but its position."""

    event: Event
    key: bytes
    digest: bytes
    received_at: int
    body: bytes


def event_row(event: Event, at: int) -> EventRow:
    """An event ready to be written."""
    key = identity_key(event.source, event.id)
    return EventRow(event, key, content_digest(event), at, encode_for_log(event))


def own_event_row(event: Event, at: int) -> EventRow:
    """An event that ends a run, ready to be written: nobody else can have sent the same."""
    body = encode_for_log(event)
    return EventRow(event, identity_key(event.source, event.id), body_digest(body), at, body)


#: Name of the query and its rows of parameters.
Statements = Sequence[tuple[str, Sequence[tuple[Any, ...]]]]


@dataclass(slots=True)
class AppendJob:
    kind = "append"
    append: Append
    rows: Sequence[EventRow]
    at: int
    #: Named statements with their rows that belong to it.
    also: Statements = ()
    #: The subscription that the first event tells of, with its definition; none: it is deleted.
    subscription: tuple[str, bytes | None] | None = None


@dataclass(slots=True)
class RouteJob:
    kind = "route"
    batch: RouteBatch
    #: The batch's derived events.
    rows: Sequence[EventRow] = ()


@dataclass(slots=True)
class RecordJob:
    kind = "record"
    recorded: Sequence[Recorded]
    rows: Sequence[EventRow]
    #: Shards and epochs under which this was decided, where several nodes may decide.
    fence: Collection[tuple[int, int]] | None = None


@dataclass(slots=True)
class MarkJob:
    kind = "deliver"
    marks: Sequence[DeliveryMark]
    dead_letters: Sequence[DeadLetter]
    also: Statements = ()


@dataclass(slots=True)
class StatementJob:
    kind = "statement"
    statements: Statements
    dead_letters: Sequence[DeadLetter] = ()


Job = AppendJob | RouteJob | RecordJob | MarkJob | StatementJob


@dataclass(slots=True)
class Facts:
    """What a commit must know before it decides."""

    #: Position of the last event.
    head: int
    #: Cursors that jobs of this commit compare; what is absent does not exist.
    cursors: dict[str, str]
    #: Short names of runs that jobs of this commit record.
    numbers: dict[str, int]
    #: Identity key → position and digest, of events that jobs of this commit append and the log has already.
    identities: dict[bytes, tuple[int, bytes]]
    #: Identities of files that jobs of this commit announce and the ledger has already.
    files: set[tuple[Any, ...]]
    #: Keys of events that jobs of this commit route and somebody waits for.
    waited_for: set[str]
    #: Gives the next run its short name.
    next_number: Callable[[], int]


@dataclass(slots=True)
class LookedUp:
    """What the facts of a commit must be looked up for."""

    keys: list[bytes] = field(default_factory=list)
    runs: set[str] = field(default_factory=set)
    cursors: set[str] = field(default_factory=set)
    files: list[tuple[Any, ...]] = field(default_factory=list)
    #: Keys of events that somebody may wait for.
    waits: set[str] = field(default_factory=set)
    #: Runs that will be created.
    new_runs: int = 0
    #: True when events may be appended.
    appends: bool = False


def looked_up(jobs: Iterable[Job]) -> LookedUp:
    """What must be known to do these jobs."""
    wanted = LookedUp()
    for job in jobs:
        match job:
            case RecordJob():
                wanted.runs.update([recorded.run_id for recorded in job.recorded])
                if any(recorded.waits is not None and _awaits(recorded.waits) for recorded in job.recorded):
                    wanted.cursors.add(ROUTER_CURSOR)
                wanted.appends |= bool(job.rows)
            case AppendJob():
                wanted.keys += [row.key for row in job.rows]
                wanted.cursors.update(move.name for move in job.append.cursors)
                wanted.files += map(file_identity, job.append.files)
                wanted.appends |= bool(job.rows)
            case RouteJob():
                wanted.cursors.add(ROUTER_CURSOR)
                if job.batch.patterns is not None:
                    wanted.cursors.add(PATTERNS_CURSOR)
                    wanted.waits.update(key for key, _ in job.batch.waits)
                wanted.keys += [row.key for row in job.rows]
                wanted.appends |= bool(job.rows)
                if job.batch.admission is not None:
                    wanted.cursors.add(ADMISSION_CURSOR)
                wanted.new_runs += len(job.batch.runs)
            case MarkJob() | StatementJob():
                pass
    return wanted


def _awaits(changes: WaitChanges) -> bool:
    """Whether a wait for an event begins."""
    return any(wait.key is not None for wait in changes.begun)


#: Statements after which those who follow subscriptions look again.
_FOLLOWED = frozenset({"set_subscription_state", "touch_subscription"})


def changes_subscriptions(job: Job) -> bool:
    """Whether the job changes a subscription or whether one delivers."""
    match job:
        case AppendJob():
            return job.subscription is not None or any(name in _FOLLOWED for name, _ in job.also)
        case MarkJob():
            return any(name in _FOLLOWED for name, _ in job.also)
        case StatementJob():
            return any(name in _FOLLOWED for name, _ in job.statements)
        case _:
            return False


def rows_of(job: Job) -> int:
    """About how many rows a job writes, for bounding one commit."""
    match job:
        case RecordJob():
            return len(job.recorded) + len(job.rows)
        case AppendJob():
            return len(job.rows) + 1
        case RouteJob():
            held = len(job.batch.admission.held) if job.batch.admission is not None else 0
            return len(job.batch.runs) * 2 + len(job.batch.deliveries) + len(job.rows) + held + 1
        case _:
            return 1


def file_identity(version: FileVersion) -> tuple[Any, ...]:
    """What makes a file version announced once and for ever."""
    return (version.source, version.path, version.inode, version.size, version.mtime_ns)


class Commit:
    """Gathers the rows of all jobs of one transaction."""

    def __init__(self, facts: Facts) -> None:
        self.head = facts.head
        #: Rows by named query.
        self.rows: dict[str, list[tuple[Any, ...]]] = {}
        #: Cursors that were moved.
        self.cursors: dict[str, str] = {}
        #: Short names of the runs that were created.
        self.numbers: dict[str, int] = {}
        #: Runs that ended.
        self.ended: list[str] = []
        #: True when there are events now that some wait may have waited for.
        self.has_hits = False
        #: Appended events with the sizes of their bodies.
        self.logged: list[tuple[LoggedEvent, int]] = []
        self._facts = facts
        self._identities = facts.identities
        self._files = facts.files

    def do(self, job: Job) -> Any:
        """The job's answer: an exception when it was refused."""
        match job:
            case RecordJob():
                return self._record(job)
            case AppendJob():
                return self._append(job)
            case RouteJob():
                return self._route(job.batch, job.rows)
            case MarkJob():
                return self._mark(job)
            case StatementJob():
                return self._statements(job)

    # ── append ──

    def _append(self, job: AppendJob) -> list[Appended] | Exception:
        for move in job.append.cursors:
            found = self.cursors.get(move.name, self._facts.cursors.get(move.name))
            if found != move.expected:
                return CursorMoved(move.name, move.expected, found)
        verdicts = self._verdicts(job)
        if isinstance(verdicts, Exception):
            return verdicts
        for row, answer in zip(job.rows, verdicts, strict=True):
            if answer.position > self.head:
                self._add_event(row)
            elif not answer.position:
                letter = _reused(row, job.at, job.append.stage, job.append.origin)
                self._add("insert_dead_letter", dead_letter_row(letter))
        for move in job.append.cursors:
            self.cursors[move.name] = move.value
        for version in job.append.files:
            self._add_file(version)
        for letter in job.append.dead_letters:
            self._add("insert_dead_letter", dead_letter_row(letter))
        if job.subscription is not None and not verdicts[0].duplicate:
            self._add("insert_subscription", (verdicts[0].position, *job.subscription))
        self._also(job.also)
        return verdicts

    def _verdicts(self, job: AppendJob) -> list[Appended] | EventRejected:
        fresh: dict[bytes, tuple[int, bytes]] = {}
        answers: list[Appended] = []
        identities = self._identities
        position = self.head
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
        self.head = position = self.head + 1
        event = row.event
        self._add(
            "insert_event",
            (position, row.key, row.digest, row.received_at, event.type, event.source, row.body),
        )
        self.logged.append((LoggedEvent(position, row.received_at, event), len(row.body)))

    def _add_file(self, version: FileVersion) -> None:
        identity = file_identity(version)
        if identity in self._files:
            return
        self._files.add(identity)
        self._add("insert_file", (*identity, version.digest))

    # ── route, record, mark ──

    def _route(self, batch: RouteBatch, derived: Sequence[EventRow]) -> Exception | None:
        found = self.cursors.get(ROUTER_CURSOR, self._facts.cursors.get(ROUTER_CURSOR, "0"))
        if found != str(batch.expected):
            return CursorMoved(ROUTER_CURSOR, str(batch.expected), found)
        if batch.patterns is not None:
            version = self.cursors.get(PATTERNS_CURSOR, self._facts.cursors.get(PATTERNS_CURSOR, "0"))
            if version != batch.patterns:
                return CursorMoved(PATTERNS_CURSOR, batch.patterns, version)
        if batch.admission is not None:
            turn = self.cursors.get(ADMISSION_CURSOR, self._facts.cursors.get(ADMISSION_CURSOR, "0"))
            if turn != str(batch.admission.turn):
                return CursorMoved(ADMISSION_CURSOR, str(batch.admission.turn), turn)
            self._admit(batch.admission)
        self.cursors[ROUTER_CURSOR] = str(batch.cursor)
        for hit in batch.waits:
            if hit[0] in self._facts.waited_for:
                self._add("insert_hit", hit)
                self.has_hits = True
        for disposition in batch.dispositions:
            self._add("insert_disposition", _disposition_row(disposition))
        for run in batch.runs:
            number = self.numbers[run.run_id] = self._facts.next_number()
            self._add("insert_run", _run_row(number, run))
        for delivery in batch.deliveries:
            self._add("insert_delivery", _delivery_row(delivery))
        for letter in batch.dead_letters:
            self._add("insert_dead_letter", dead_letter_row(letter))
        for begun in batch.tree_runs:
            self._add("insert_tree_run", begun)
        for ended in batch.tree_ends:
            self._add("end_tree_run", ended)
        for name in batch.unsubscribed:
            self._add("cancel_deliveries", ("the subscription was deleted", name))
        for row in derived:
            self._derive(row)
        return None

    def _derive(self, row: EventRow) -> None:
        found = self._identities.get(row.key)
        if found is None:
            self._identities[row.key] = (self.head + 1, row.digest)
            self._add_event(row)
        elif found[1] != row.digest:
            self._add("insert_dead_letter", dead_letter_row(_reused(row, row.received_at, "routing", "")))

    def _admit(self, changes: AdmissionChanges) -> None:
        self.cursors[ADMISSION_CURSOR] = str(changes.turn + 1)
        for held in changes.held:
            row = (held.position, held.trigger, held.stage, held.key, held.body)
            self._add("put_held", row)
        for released in changes.released:
            self._add("delete_held", released)
        for one in changes.remembered:
            self._add("put_memory", (one.trigger, one.stage, one.key, one.until, one.body))
        if changes.forget_before is not None:
            self._add("forget_memory", (changes.forget_before,))
        for run, by in changes.cancels:
            self._add("insert_request", (run, "cancel", changes.at, by))

    def _record(self, job: RecordJob) -> Exception | None:
        numbers, known = self.numbers, self._facts.numbers
        history: list[tuple[Any, ...]] = []
        for recorded in job.recorded:
            number = known.get(recorded.run_id) or numbers.get(recorded.run_id)
            if number is None:
                return StorageError(f"there is no run {recorded.run_id}")
            history.append((number, recorded.sequence, recorded.at, recorded.body))
        self.rows.setdefault("insert_history", []).extend(history)
        for recorded, row in zip(job.recorded, history, strict=True):
            if recorded.summary:
                end = recorded.summary
                self._add("update_run", (end.state, end.started_at, end.ended_at, row[0]))
                if end.version is not None:
                    self._add("move_run", (end.version, row[0]))
                if end.ended_at is not None:
                    self.ended.append(recorded.run_id)
            if recorded.reuse is not None:
                self._reuse(recorded, recorded.reuse)
            if recorded.waits is not None:
                self._wait(recorded, recorded.waits)
            for past in recorded.pasts:
                self._add("put_past", past)
                self._add("prune_past", past[:3])
        for event_row in job.rows:
            self._add_event(event_row)
        return None

    def _wait(self, recorded: Recorded, changes: WaitChanges) -> None:
        # What is routed after this transaction finds these waits; what was routed before is theirs to look for.
        routed = int(self.cursors.get(ROUTER_CURSOR, self._facts.cursors.get(ROUTER_CURSOR, "0")))
        run = recorded.run_id
        for wait in changes.begun:
            self._add("put_wait", _wait_row(run, wait, routed))
            if wait.key is not None:
                self._facts.waited_for.add(wait.key)
            if wait.asked is not None:
                self._add("insert_approval", _approval_row(run, wait, wait.asked))
        for task in changes.ended:
            self._add("delete_wait", (run, task))
        if changes.is_over:
            self._add("delete_waits", (run,))
            self._add("cancel_approvals", (recorded.at, run))

    def _reuse(self, recorded: Recorded, reuse: Reuse) -> None:
        for entry in reuse.cached:
            self._add("put_cached", entry)
        for held in sorted(reuse.holds):
            self._add("put_hold", (held, recorded.run_id))
        if reuse.quarantined:
            self._add("put_quarantined", (recorded.run_id, recorded.at))
        if reuse.released is not None:
            self._add("drop_quarantined", (reuse.released,))

    def _mark(self, job: MarkJob) -> None:
        for mark in job.marks:
            self._add(
                "update_delivery",
                (mark.state, mark.attempts, mark.due_at, mark.detail, mark.position, mark.subscription),
            )
        for letter in job.dead_letters:
            self._add("insert_dead_letter", dead_letter_row(letter))
        self._also(job.also)

    def _statements(self, job: StatementJob) -> None:
        self._also(job.statements)
        for letter in job.dead_letters:
            self._add("insert_dead_letter", dead_letter_row(letter))

    def _also(self, statements: Statements) -> None:
        for name, rows in statements:
            self.rows.setdefault(name, []).extend(rows)

    def _add(self, query: str, row: tuple[Any, ...]) -> None:
        self.rows.setdefault(query, []).append(row)


def _reused(row: EventRow, at: int, stage: str, origin: str) -> DeadLetter:
    return DeadLetter(
        id=new_id(),
        at=at,
        stage=stage,
        code="id_reused",
        detail="the identity is in the log with other content",
        origin=origin,
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
        run.shard,
        run.admission,
    )


def _wait_row(run: str, wait: Wait, routed: int) -> tuple[Any, ...]:
    # One for which nothing has to be read says so by two equal numbers.
    known = wait.since if wait.key is None else max(routed, wait.since)
    return (
        run,
        wait.task,
        wait.kind,
        wait.shard,
        wait.due_at,
        wait.pattern,
        wait.key,
        wait.since,
        known,
        wait.from_at,
    )


def _approval_row(run: str, wait: Wait, asked: Asked) -> tuple[Any, ...]:
    assignees = orjson.dumps(list(asked.assignees)).decode()
    return (
        asked.id,
        run,
        asked.dag,
        wait.task,
        "open",
        asked.title,
        asked.form,
        assignees,
        asked.quorum,
        asked.at,
        wait.due_at,
        None,
    )


def _delivery_row(delivery: Delivery) -> tuple[Any, ...]:
    return (delivery.subscription, delivery.position, "pending", delivery.attempts, delivery.due_at, "")
