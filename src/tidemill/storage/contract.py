"""The storage contract: what every database behind Tidemill must do, and the values that go in and out.

Rules that every implementation keeps (and the conformance suite checks):

1. One writer. Every `async` method that changes something returns after its transaction is on disk, or raises
   a `StorageError` and has changed nothing that the caller may rely on.
2. Jobs handed in while a commit is in flight go into the next commit together; jobs of one caller are committed
   in the order in which they were handed in.
3. Positions of the event log rise by one; a reader never sees n+1 before n.
4. Committed values are handed to followers in memory (`Tail`); whoever fell behind reads them from the database.
   The hand-over carries what was committed, nothing else.
5. Times are microseconds since the epoch, UTC.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

from tidemill.events.event import Event, LoggedEvent
from tidemill.storage.feed import Feed
from tidemill.storage.shards import Shards

__all__ = [
    "Append",
    "Appended",
    "CursorMove",
    "DeadLetter",
    "DeadLetters",
    "Delivery",
    "DeliveryMark",
    "DeliveryState",
    "Disposition",
    "DispositionKind",
    "EventFilter",
    "EventLog",
    "FileVersion",
    "Ledger",
    "NewRun",
    "NodeView",
    "Outbox",
    "Recorded",
    "Request",
    "RouteBatch",
    "RunEnd",
    "RunFilter",
    "RunStore",
    "RunSummary",
    "Store",
]


# ── event log ─────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class CursorMove:
    """A source's cursor moves from `expected` (None: it does not exist yet) to `value`, or the job is refused."""

    name: str
    expected: str | None
    value: str


@dataclass(frozen=True, slots=True)
class FileVersion:
    """One settled version of one file: the identity under which it is announced once and for ever."""

    source: str
    #: Relative to the source's folder, "/" as separator.
    path: str
    inode: int
    size: int
    mtime_ns: int
    #: Hex SHA-256 of the whole content.
    digest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """Something that could not go on, kept with what is needed to understand and redrive it."""

    id: str
    at: int
    #: Where it stopped: "kafka", "files", "http", "routing", "delivery".
    stage: str
    #: A stable snake_case reason (rejection codes, `loop_limit`, `attempts_exhausted`, …).
    code: str
    detail: str
    #: Name of the source, trigger or subscription.
    origin: str
    #: Where it came from: topic/partition/offset/key/headers, path, position … JSON values.
    coordinates: Mapping[str, Any] = field(default_factory=dict)
    #: The bytes as they came.
    body: bytes = b""
    #: Position in the log, where the thing is an event that was logged.
    position: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Append:
    """Events to be appended with the source's bookkeeping, all in one transaction or not at all."""

    events: Sequence[Event] = ()
    cursors: Sequence[CursorMove] = ()
    files: Sequence[FileVersion] = ()
    dead_letters: Sequence[DeadLetter] = ()
    #: What to do with an event whose identity is in the log with other content: True refuses the whole job
    #: with `EventRejected("id_reused")`; False puts that event into the dead letters (stage = `stage`,
    #: origin = `origin`) and goes on.
    refuse_reuse: bool = True
    stage: str = "http"
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Appended:
    """The log's answer for one event."""

    #: Position of the event (of the first one for a duplicate; 0 when it became a dead letter).
    position: int
    duplicate: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilter:
    """Conditions on listed events, joined by and."""

    type: str | None = None
    source: str | None = None
    subject: str | None = None
    id: str | None = None


class EventLog(Protocol):
    """The durable log of every event."""

    @property
    def head(self) -> int:
        """Position of the last committed event; 0 when the log is empty."""

    @property
    def routed(self) -> int:
        """Position up to which events are routed."""

    async def append(self, job: Append) -> list[Appended]:
        """Append events and move cursors in one transaction; one answer per event, in order.

        Durable on return. Idempotent by (`source`, `id`) for events, (path, inode, size, mtime_ns) for files.
        Raises `EventRejected` (`id_reused`), `CursorMoved`, `StoreUnavailable`, `DiskFull`; then nothing of the
        job is stored, or (commit's answer lost) sending it again is safe.
        """

    def overload(self) -> int | None:
        """Seconds after which a producer should come back when the backlog is full, None when there is room."""

    async def wait_for_room(self) -> None:
        """Return when the backlog has room; sources that pull wait here before they pull."""

    async def read(self, after: int, limit: int) -> list[LoggedEvent]:
        """Up to `limit` events with position > `after`, in order, from memory where they are still there."""

    async def wait_for_event(self, after: int) -> None:
        """Return as soon as `head` > `after`."""

    async def get(self, position: int) -> LoggedEvent | None:
        """The event at `position`."""

    async def find(self, source: str, event_id: str) -> LoggedEvent | None:
        """The event with that identity."""

    async def list(self, where: EventFilter, *, before: int | None, limit: int) -> list[LoggedEvent]:
        """Events newest first with position < `before`."""


class Ledger(Protocol):
    """What sources remember: cursors and files. Written by `EventLog.append` only."""

    async def cursor(self, name: str) -> str | None:
        """The cursor's value; None when it was never moved."""

    async def cursors(self, prefix: str) -> dict[str, str]:
        """All cursors whose name starts with `prefix`."""

    def files(self, source: str) -> AsyncIterator[FileVersion]:
        """Every file version announced by `source`."""


# ── routing ───────────────────────────────────────────────────────────────────────────────────────────────


class DispositionKind(StrEnum):
    """What became of one event for one trigger that matched it."""

    RUN = "run"
    DEAD_LETTERED = "dead_lettered"
    PAUSED = "paused"


@dataclass(frozen=True, slots=True)
class Disposition:
    """Exactly one per (matched trigger, event)."""

    position: int
    trigger: str
    kind: DispositionKind
    run_id: str | None = None
    #: Why, for kinds other than RUN (a dead letter's id, for example).
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRun:
    """A run that routing creates, queued."""

    run_id: str
    dag: str
    version: str
    trigger: str
    position: int
    event_source: str
    event_id: str
    #: JSON text of the validated parameters.
    parameters: bytes
    queued_at: int
    #: Correlation, causation, hop count and trace that the run's completion event carries on.
    correlation_id: str
    hop_count: int
    traceparent: str | None = None
    #: Whoever owns this shard works on the run (see `Shards`).
    shard: int = 0


class DeliveryState(StrEnum):
    """Where a delivery stands."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD_LETTERED = "dead_lettered"


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One event on its way to one subscription."""

    subscription: str
    position: int
    #: Attempts made so far.
    attempts: int = 0
    #: Not to be tried before, microseconds since the epoch.
    due_at: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteBatch:
    """What routing decided for the events up to `cursor`, committed in one transaction."""

    #: The router's cursor before and after this batch.
    expected: int
    cursor: int
    dispositions: Sequence[Disposition] = ()
    runs: Sequence[NewRun] = ()
    deliveries: Sequence[Delivery] = ()
    dead_letters: Sequence[DeadLetter] = ()


# ── runs ──────────────────────────────────────────────────────────────────────────────────────────────────


class RunEnd(NamedTuple):
    """What changes in a run's summary row."""

    state: str
    started_at: int | None = None
    ended_at: int | None = None


class Recorded(NamedTuple):
    """One decision of one run: a history row, the summary's change, and events that follow from it."""

    run_id: str
    #: From 0, without gaps within a run; a second row with the same number is refused.
    sequence: int
    at: int
    #: Encoded records (see `tidemill.runs.records`).
    body: bytes
    summary: RunEnd | None = None
    events: Sequence[Event] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """One row per run, for queries; a fold of the run's history."""

    run_id: str
    dag: str
    version: str
    state: str
    trigger: str
    position: int
    event_source: str
    event_id: str
    parameters: bytes
    queued_at: int
    started_at: int | None
    ended_at: int | None
    correlation_id: str
    hop_count: int
    traceparent: str | None
    shard: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFilter:
    """Conditions on listed runs, joined by and."""

    dag: str | None = None
    state: str | None = None
    trigger: str | None = None
    position: int | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """Somebody asked to steer a run; kept until the engine has recorded the answer."""

    id: int
    run_id: str
    #: "cancel" or "retry".
    kind: str
    at: int
    by: str = ""


class RunStore(Protocol):
    """Runs and their histories."""

    #: Runs that were just committed, for the engine.
    new_runs: Feed[NewRun]
    #: Tells the engine that there are requests.
    new_requests: Feed[None]

    async def route(self, batch: RouteBatch) -> None:
        """Commit a routing decision; the new runs are handed to the engine, the deliveries to the sinks.

        Idempotent by the router's cursor: raises `CursorMoved` when it does not stand at `batch.expected`.
        """

    async def record(
        self, rows: Sequence[Recorded], *, fence: Collection[tuple[int, int]] | None = None
    ) -> None:
        """Append history rows, change summaries and append completion events in one transaction.

        `fence` holds (shard, epoch) of all these runs, as they were when this process began to work on them.
        Raises `ShardLost` when one of them has passed: nothing is written, and the caller must drop those runs.
        Raises `StoreUnavailable` or `CursorMoved` (a second writer): then the caller must forget its state of
        these runs and read them again.
        """

    async def get(self, run_id: str) -> RunSummary | None:
        """The summary of a run."""

    async def history(self, run_id: str) -> list[tuple[int, int, bytes]]:
        """(sequence, at, body) of a run, in order."""

    async def live(
        self, *, after: str, limit: int, shards: Collection[int] | None = None
    ) -> list[RunSummary]:
        """Runs that have started and not ended, by id, with id > `after`; of these shards where given."""

    async def queued(
        self, dag: str, *, after: str, limit: int, shards: Collection[int] | None = None
    ) -> list[RunSummary]:
        """Runs of one DAG that wait to start, oldest first, with id > `after`; of these shards where given."""

    async def queued_dags(self, shards: Collection[int] | None = None) -> list[str]:
        """DAGs that have runs waiting to start, in these shards where given."""

    async def request(self, run_id: str, kind: str, by: str = "") -> None:
        """Ask the engine to steer a run; durable on return, carried out soon after."""

    async def requests(self, shards: Collection[int] | None = None) -> list[Request]:
        """Requests that were not answered yet, oldest first; for runs of these shards where given."""

    async def answer(self, request_ids: Sequence[int]) -> None:
        """Forget requests that were carried out or refused."""

    async def dispositions(self, position: int) -> list[Disposition]:
        """What became of the event at `position`, per matched trigger."""

    async def save_version(self, dag: str, version: str, file: str, source: str, graph: bytes) -> None:
        """Keep the source of a DAG's version; does nothing when it is kept already."""

    async def version(self, dag: str, version: str) -> tuple[str, str, bytes] | None:
        """(file, source, graph) of a kept version."""

    async def counts(self) -> dict[tuple[str, str], int]:
        """Number of runs per (dag, state)."""

    async def list(self, where: RunFilter, *, before: str | None, limit: int) -> list[RunSummary]:
        """Runs newest first (by id) with id < `before`."""


# ── outbox ────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class DeliveryMark:
    """What became of one delivery attempt."""

    subscription: str
    position: int
    state: DeliveryState
    attempts: int
    due_at: int = 0
    detail: str = ""


class Outbox(Protocol):
    """Events on their way to subscriptions."""

    async def due(self, subscription: str, *, after: int, limit: int) -> list[Delivery]:
        """Pending deliveries of a subscription by position, with position > `after` (due or not)."""

    async def mark(self, marks: Sequence[DeliveryMark], dead_letters: Sequence[DeadLetter] = ()) -> None:
        """Record outcomes of attempts, with dead letters for those given up, in one transaction."""

    async def wait_for_delivery(self, subscription: str, after: int) -> None:
        """Return when a delivery of this subscription with position > `after` has been committed."""

    async def list(self, position: int) -> list[tuple[str, DeliveryState, int, str]]:
        """(subscription, state, attempts, detail) of every delivery of the event at `position`."""


class DeadLetters(Protocol):
    """What could not go on."""

    async def add(self, letters: Sequence[DeadLetter]) -> None:
        """Keep dead letters (sources use `Append.dead_letters` to keep them with their cursor)."""

    async def list(self, *, stage: str | None, before: str | None, limit: int) -> list[DeadLetter]:
        """Newest first (by id) with id < `before`, without bodies above 4 KiB."""

    async def get(self, letter_id: str) -> DeadLetter | None:
        """One dead letter with its whole body."""


@dataclass(frozen=True, slots=True)
class NodeView:
    """One process that works on a database."""

    node: str
    #: Where its HTTP server answers.
    url: str
    #: Number of shards it owns.
    shards: int
    #: True when it gives its shards back and takes none.
    draining: bool
    #: Seconds since it was last seen, by the database's clock.
    silent_seconds: float
    #: What it does: live runs, running tasks, events not routed.
    load: Mapping[str, Any] = field(default_factory=dict)


class Store(Protocol):
    """One database behind the five aggregates. Opened by the composition root, closed last."""

    @property
    def log(self) -> EventLog: ...
    @property
    def ledger(self) -> Ledger: ...
    @property
    def runs(self) -> RunStore: ...
    @property
    def outbox(self) -> Outbox: ...
    @property
    def dead_letters(self) -> DeadLetters: ...
    @property
    def shards(self) -> Shards: ...

    async def nodes(self) -> list[NodeView]:
        """Every process that works on this database; none are listed where only this one can."""

    @property
    def refused_records(self) -> int:
        """Records that were refused because this process had lost their shard."""

    async def close(self) -> None:
        """Commit what was handed in and close; later calls raise `StoreUnavailable`."""
