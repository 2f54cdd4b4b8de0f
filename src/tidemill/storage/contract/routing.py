"""What routing decides and commits at once: dispositions, runs, deliveries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from tidemill.events.event import Event
from tidemill.storage.contract.admission import AdmissionChanges
from tidemill.storage.contract.deliveries import Delivery
from tidemill.storage.contract.letters import DeadLetter

__all__ = ["Disposition", "DispositionKind", "NewRun", "RouteBatch", "TreeSummary", "Trees"]


class DispositionKind(StrEnum):
    """What became of one event for one trigger that matched it."""

    RUN = "run"
    DEAD_LETTERED = "dead_lettered"
    PAUSED = "paused"
    DUPLICATE_OF = "duplicate_of"
    DROPPED_BY_LIMIT = "dropped_by_limit"
    NOT_JOINED = "not_joined"
    JOINED_INTO = "joined_into"
    DEBOUNCED_INTO = "debounced_into"
    BATCHED_INTO = "batched_into"
    COALESCED_INTO = "coalesced_into"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    LOOP_AVOIDED = "loop_avoided"


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
    #: JSON text of the admission keys that it holds until it has ended; None without any.
    admission: str | None = None


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
    #: (correlation id, run) of new runs, and of runs whose completion event was routed, where trees are followed.
    tree_runs: Sequence[tuple[str, str]] = ()
    tree_ends: Sequence[tuple[str, str]] = ()
    #: Subscriptions that were deleted: what is pending for them is cancelled.
    unsubscribed: Sequence[str] = ()
    #: Events that were derived from these, each with the time of that. One that is in the log already is left out;
    #: one whose identity is there with other content becomes a dead letter (`id_reused`).
    derived: Sequence[tuple[Event, int]] = ()
    #: (key, position) of events that some wait may wait for, and the version of the patterns that they were compared
    #: with: when it is another one by now, `CursorMoved` is raised, and the events have to be compared again.
    waits: Sequence[tuple[str, int]] = ()
    patterns: str | None = None
    #: None where no trigger has an admission.
    admission: AdmissionChanges | None = None


class Trees(Protocol):
    """Runs that belong together because they have one correlation id, where somebody waits for their end."""

    async def begin(self) -> None:
        """From now on trees are followed: know the runs that are open already; durable on return."""

    async def ended(self) -> list[str]:
        """Correlation ids of trees whose known runs have all ended and been routed."""

    async def is_open(self, correlation_id: str) -> bool:
        """Whether a run of the tree has not ended, or its completion event was not routed yet."""

    async def summary(self, correlation_id: str) -> TreeSummary | None:
        """What became of the tree's runs; None when none is known."""

    async def end(self, correlation_id: str, event: Event | None, *, cursor: int) -> None:
        """Forget the tree and append the event that tells of its end, in one transaction.

        Raises `CursorMoved` when the router does not stand at `cursor`.
        """


@dataclass(frozen=True, slots=True)
class TreeSummary:
    """What became of a tree's runs."""

    #: Number of runs by state.
    runs: Mapping[str, int]
    #: Position of the event that started the first of them.
    position: int
    hop_count: int
    queued_at: int
    ended_at: int
