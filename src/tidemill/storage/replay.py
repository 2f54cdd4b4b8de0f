"""The order to tell recorded events again: a value, kept as one cursor of the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

__all__ = ["Replay", "ReplayState"]


class ReplayState(StrEnum):
    """Where a replay stands."""

    RUNNING = "running"
    DONE = "done"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """One order to tell recorded events again."""

    id: str
    #: When it was asked for, microseconds since the epoch, and by whom.
    at: int
    by: str = ""
    #: Positions after `position` and up to `until` are still to be looked at.
    position: int
    until: int
    #: Received from and before, microseconds since the epoch.
    received_from: int | None = None
    received_before: int | None = None
    type: str | None = None
    source: str | None = None
    subject: str | None = None
    #: CloudEvents Subscriptions filters; all must match.
    filters: Sequence[Any] = ()
    #: Only these triggers are told; none: all.
    triggers: Sequence[str] = ()
    #: True: not those that have started a run (of one of these triggers).
    if_no_runs: bool = False
    #: Events told per second at most; None: as fast as it goes.
    rate: float | None = None
    state: ReplayState = ReplayState.RUNNING
    told: int = 0
    skipped: int = 0
