"""What every source is: bytes from outside become events in the log, acknowledged only after the commit.

A source never calls another stage. It is given the event log (to append), the ledger (to read its own cursor) and
a clock, and runs until it is cancelled. It is a small state machine that the API shows (`sources.state`).

Rules for every source:

1. It acknowledges outside only what the log has committed; the cursor moves in the transaction that holds the events.
2. Cancelling `run` at any await loses nothing and doubles nothing: that is how a source is stopped, and how it is
   paused. `run` may be called again on the same source, and then goes on from what is on disk.
3. What cannot become an event is a dead letter with its bytes (or a refusal to the sender), and the rest goes on.
4. It heals by itself: whatever the outside or the store does, it tries again and says so in its status.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

__all__ = ["Source", "SourceState", "SourceStatus"]


class SourceState(StrEnum):
    """How a source is doing; `sources.state` has the transitions."""

    STARTING = "starting"
    #: Receiving, nothing wrong.
    LIVE = "live"
    #: Receiving, with a workaround or after refusals (see `error`).
    DEGRADED = "degraded"
    #: Not receiving; it keeps trying by itself.
    STALLED = "stalled"
    #: Not receiving, because somebody said so; until somebody says otherwise.
    PAUSED = "paused"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """What the API shows of a source."""

    name: str
    #: "http", "webhook", "files", "kafka", "schedule", or the kind of a plug-in.
    kind: str
    state: SourceState
    #: Events appended since the process started.
    accepted: int = 0
    #: Duplicates answered since the process started.
    duplicates: int = 0
    #: Refusals and dead letters since the process started.
    refused: int = 0
    #: When the last event was appended, microseconds since the epoch; None before the first.
    last_event_at: int | None = None
    #: Records or files known to wait outside; None when unknown.
    lag: int | None = None
    error: str = ""
    #: How it receives, for a source that has several ways ("events" or "polling" for files).
    mode: str = ""
    #: When it was paused, microseconds since the epoch; None while it is not.
    paused_at: int | None = None


class Source(Protocol):
    """A place events come from."""

    name: str
    #: True when every node of a fleet runs it and the outside shares the work out; False when one node does.
    on_every_node: bool

    async def run(self) -> None:
        """Receive until cancelled. Heals by itself: raises only for what a restart cannot mend.

        When it is cancelled, everything it acknowledged is durable, and everything else will be found again.
        """

    def status(self) -> SourceStatus:
        """How it is doing now."""
