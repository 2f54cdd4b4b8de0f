"""What tasks wait for, and what people are asked: rows that stand for runs which nothing has in memory."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol

from tidemill.storage.contract.runs import RunSummary
from tidemill.storage.feed import Feed

__all__ = [
    "Approval",
    "ApprovalState",
    "Approvals",
    "DueWait",
    "HitWait",
    "SaidDecision",
    "UnreadWait",
    "Waits",
]


class DueWait(NamedTuple):
    """A wait whose time is up."""

    run_id: str
    task: str
    kind: str
    due_at: int


class HitWait(NamedTuple):
    """A wait whose event is there: the first one in the order of the log."""

    run_id: str
    task: str
    position: int


class UnreadWait(NamedTuple):
    """A wait for which the events with a position in (`since`, `routed`] have to be read."""

    run_id: str
    task: str
    pattern: str
    key: str
    since: int
    routed: int
    from_at: int | None


class Waits(Protocol):
    """The waits of all runs. They begin and end with the records of their runs (`RunStore.record`)."""

    #: Tells the engine that events were routed which some wait may have waited for.
    hits: Feed[None]

    async def patterns(self) -> tuple[str, dict[str, bytes]]:
        """Every pattern that was ever kept, by name, and their version, which changes with them."""

    async def forget_patterns(self, *, but: Collection[str]) -> int:
        """Forget patterns that nobody waits for, but these; durable on return. How many.

        Only while nobody begins to wait.
        """

    async def keep_patterns(self, patterns: Mapping[str, bytes]) -> None:
        """Know these patterns from now on; durable on return. Waits for events begin after that only."""

    async def first_due(self, shards: Collection[int] | None = None, *, after: int = -1) -> int | None:
        """When the time of the first wait is up, of those up after `after`; None when there is none."""

    async def due(
        self, until: int, *, after: tuple[int, str, str], limit: int, shards: Collection[int] | None = None
    ) -> list[DueWait]:
        """Waits whose time is up at `until`, in the order of (due_at, run_id, task), those after `after`."""

    async def hit(self, *, limit: int, shards: Collection[int] | None = None) -> list[HitWait]:
        """Waits whose event is there, of those for which nothing has to be read."""

    async def forget_hits(self) -> None:
        """Forget events that no wait can wait for any more."""

    async def unread(self, *, limit: int, shards: Collection[int] | None = None) -> list[UnreadWait]:
        """Waits for which a part of the log has to be read."""

    async def have_read(self, waits: Sequence[UnreadWait]) -> None:
        """These have been read for, and nothing was found; durable on return."""

    async def counts(self, shards: Collection[int] | None = None) -> dict[str, int]:
        """Number of waits by kind."""

    async def parked(self, run_ids: Collection[str]) -> list[RunSummary]:
        """Those of these runs that only wait."""

    async def parked_count(self, dag: str | None = None, shards: Collection[int] | None = None) -> int:
        """Number of runs that only wait, of one DAG where given."""


class ApprovalState(StrEnum):
    """Where an approval stands; it leaves `open` once."""

    OPEN = "open"
    APPROVED = "approved"
    REJECTED = "rejected"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """What people were asked, and where it stands."""

    id: str
    run_id: str
    dag: str
    task: str
    state: ApprovalState
    title: str
    #: JSON Schema as JSON text.
    form: bytes
    assignees: Sequence[str]
    quorum: int
    asked_at: int
    due_at: int | None
    ended_at: int | None


class SaidDecision(NamedTuple):
    """What one person said."""

    by: str
    #: "approve" or "reject".
    decision: str
    at: int
    #: "api" or "callback".
    via: str
    #: JSON text.
    data: bytes


class Approvals(Protocol):
    """What people are asked and what they said. An approval ends once, whoever is first."""

    async def get(self, approval: str) -> Approval | None:
        """One approval."""

    async def decisions(self, approval: str) -> list[SaidDecision]:
        """What was said, in order."""

    async def list(
        self, *, state: str | None, run: str | None, before: str | None, limit: int
    ) -> list[Approval]:
        """Approvals newest first (by id) with id < `before`."""

    async def decide(self, approval: str, said: SaidDecision) -> bool:
        """Say something, and tell the engine when that ends it; durable on return.

        False, and nothing is changed, when it has ended already or the person said something before.
        """

    async def time_out(self, asked: Sequence[tuple[str, str]], *, not_before: int = 0) -> None:
        """The time of what these (run, task) asked is up: what is still open ends by that, and the engine is told.

        It ends now, and never before `not_before`: a clock may have been set back.
        """

    async def secret(self) -> bytes:
        """What callback URLs are signed with: made when it is asked for first, and kept."""
