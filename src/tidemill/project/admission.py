"""What a trigger's admission asks for, checked and compiled: between an event that matched and its run.

Values only; what they do is in `tidemill.routing.admission`, one module per stage. Times are microseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from tidemill.events.event import JSON, Event
from tidemill.patterns.rule import Rule
from tidemill.project.mapping import Template

__all__ = [
    "Admission",
    "Batch",
    "CancelOn",
    "Concurrency",
    "Debounce",
    "Idempotency",
    "Join",
    "JoinMode",
    "JoinPart",
    "RateLimit",
    "Reduce",
    "Stage",
    "Throttle",
    "WhenFull",
]


class Stage(StrEnum):
    """The stages of admission in their order: an event goes through those that its trigger asks for."""

    PAUSE = "pause"
    IDEMPOTENCY = "idempotency"
    RATE_LIMIT = "rate_limit"
    JOIN = "join"
    DEBOUNCE = "debounce"
    BATCH = "batch"
    THROTTLE = "throttle"
    CONCURRENCY = "concurrency"


class JoinMode(StrEnum):
    """What completes a join."""

    ALL = "all"
    ANY = "any"
    SEQUENCE = "sequence"
    ABSENCE = "absence"


class WhenFull(StrEnum):
    """What becomes of an event that finds every slot taken."""

    QUEUE = "queue"
    DROP = "drop"
    CANCEL_RUNNING = "cancel_running"
    COALESCE = "coalesce"


@dataclass(frozen=True, slots=True, kw_only=True)
class Idempotency:
    """Events with a key that was seen before are duplicates."""

    #: For how long after the first event; None: not by time.
    ttl: int | None
    #: True: as long as an event with the key is held or its run has not ended.
    while_running: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """At most `limit` events in any `period`; the rest is dropped."""

    limit: int
    period: int


@dataclass(frozen=True, slots=True)
class JoinPart:
    """One kind of event that a join waits for."""

    name: str
    rule: Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Join:
    """Events of several kinds that start one run together."""

    parts: Sequence[JoinPart]
    mode: JoinMode
    #: Distinct parts that complete the join.
    at_least: int
    #: How long an event waits for the others.
    window: int
    #: For how long after the start further events still count to it.
    lateness: int = 0
    #: For absence: how long before the first part the other ones count.
    lookback: int = 0
    #: What is done with events whose window has ended.
    expiry: Literal["drop", "start"] = "drop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Debounce:
    """One run after events have ceased for `period`, and at the latest `max_wait` after the first."""

    period: int
    max_wait: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One run for many events: at `size` events, at `bytes`, or `period` after the first."""

    period: int
    size: int
    bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Throttle:
    """At most `limit` starts in any `period`; the rest waits."""

    limit: int
    period: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Concurrency:
    """At most `limit` runs that have not ended."""

    limit: int
    when_full: WhenFull = WhenFull.QUEUE


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelOn:
    """Events that match `rule` cancel what is held and what runs under the same key."""

    rule: Rule
    #: Key of the cancelling event.
    key: Template | None = None


#: Makes the data that the run's mapping sees of the events of a run, in the order of the log.
Reduce = Callable[[Sequence[Event]], JSON]


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """The stages that a trigger asks for; what is None is not there."""

    #: Key of each stage; a stage that is not named has one state for the whole trigger.
    keys: Mapping[Stage, Template] = field(default_factory=dict)
    #: What a paused trigger does with events.
    paused: Literal["drop", "buffer"] = "drop"
    idempotency: Idempotency | None = None
    rate_limit: RateLimit | None = None
    join: Join | None = None
    debounce: Debounce | None = None
    batch: Batch | None = None
    throttle: Throttle | None = None
    concurrency: Concurrency | None = None
    #: Highest first, in the queues of throttle and concurrency.
    priority: Template | None = None
    cancel_on: CancelOn | None = None
    #: Key under which events can be cancelled.
    cancel_key: Template | None = None
    #: The event that the mapping sees as `$` when a run has several, before its data is replaced by `reduce`.
    shown: Literal["first", "last"] = "last"
    reduce: Reduce | None = None

    @property
    def collects(self) -> bool:
        """Whether a run may have several events."""
        coalesces = self.concurrency is not None and self.concurrency.when_full is WhenFull.COALESCE
        return bool(self.join or self.debounce or self.batch or coalesces)
