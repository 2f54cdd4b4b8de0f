"""Runs and their histories."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from tidemill.events.event import Event
from tidemill.storage.contract.cache import Reuse
from tidemill.storage.contract.routing import Disposition, NewRun, RouteBatch
from tidemill.storage.contract.scheduling import PastOutcome
from tidemill.storage.contract.wait_changes import WaitChanges
from tidemill.storage.feed import Feed

__all__ = ["KeptVersion", "Recorded", "Request", "RunEnd", "RunFilter", "RunStore", "RunSummary"]


class RunEnd(NamedTuple):
    """What changes in a run's summary row."""

    state: str
    started_at: int | None = None
    ended_at: int | None = None
    #: The version of its DAG that it goes on with; None: the one that it had.
    version: str | None = None


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
    #: What changes with it beside the run, for the few decisions that have such.
    reuse: Reuse | None = None
    #: What tasks that depend on the past came to with it.
    pasts: Sequence[PastOutcome] = ()
    #: What it changes of the run's waits.
    waits: WaitChanges | None = None


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
    #: True: only those failed because the process died too often, which nobody has run again yet.
    quarantined: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """Somebody asked to steer a run; kept until the engine has recorded the answer."""

    id: int
    run_id: str
    #: "cancel", or "approval" for a run of which an approval has ended.
    kind: str
    at: int
    by: str = ""


class KeptVersion(NamedTuple):
    """A version of a DAG whose source is kept."""

    version: str
    file: str
    #: Microseconds; 0 for what was kept before the time was.
    saved_at: int


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

    async def history_after(self, run_id: str, sequence: int, *, limit: int) -> list[tuple[int, int, bytes]]:
        """Up to `limit` rows of a run's history with a sequence > `sequence`, in order."""

    async def histories(self, run_ids: Collection[str]) -> dict[str, list[tuple[int, int, bytes]]]:
        """The histories of these runs, read at once; a run without records has an empty one."""

    async def live(
        self, *, after: str, limit: int, shards: Collection[int] | None = None
    ) -> list[RunSummary]:
        """Runs that have started and not ended, by id, with id > `after`; of these shards where given.

        Without those that only wait: they are woken by their waits (`Waits`).
        """

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

    async def save_version(
        self,
        dag: str,
        version: str,
        file: str,
        source: str,
        graph: bytes,
        *,
        modules: Mapping[str, str] | None = None,
    ) -> None:
        """Keep the source of a DAG's version; does nothing when it is kept already.

        `modules` are the texts of the modules beside it that it is made of, by path relative to the workflows
        folder; None: it is not known which they are.
        """

    async def version(self, dag: str, version: str) -> tuple[str, str, bytes] | None:
        """(file, source, graph) of a kept version."""

    async def modules(self, dag: str, version: str) -> dict[str, str] | None:
        """The modules that a kept version is made of, as they were given; None where nobody knew."""

    async def move_queued(self, run_id: str, version: str) -> None:
        """Let a run begin with another version of its DAG; does nothing once it has begun."""

    async def versions(self, dag: str) -> list[KeptVersion]:
        """The kept versions of a DAG, newest first."""

    async def counts(self) -> dict[tuple[str, str], int]:
        """Number of runs per (dag, state)."""

    async def open_counts(self, shards: Collection[int] | None = None) -> dict[tuple[int, str], int]:
        """Number of runs that have not ended per (shard, state), of these shards where given."""

    async def list(self, where: RunFilter, *, before: str | None, limit: int) -> list[RunSummary]:
        """Runs newest first (by id) with id < `before`."""
