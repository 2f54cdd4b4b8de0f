"""What was seen from outside: what was sent and answered, called and delivered. Facts only; the model judges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Answer", "Execution", "Observed", "Receipt"]


@dataclass(frozen=True, slots=True)
class Answer:
    """A source told its outside that an event is safe (HTTP 202, an offset committed, a file marked)."""

    source: str
    id: str
    at_us: int
    #: Where it says that the event is; None where it does not say.
    position: int | None = None
    duplicate: bool = False


@dataclass(slots=True)
class Execution:
    """One call of a task's function."""

    run_id: str
    task: str
    attempt: int
    #: Number of the process.
    process: int
    begun_us: int
    #: What it was given.
    given: Sequence[Any]
    #: None while it runs, and for ever when its process died.
    ended_us: int | None = None
    #: "returned", "raised", "timed_out" or "cancelled".
    outcome: str = ""
    value: Any = None
    #: It began before the record of its start was on the disk, or after a success was.
    wrong: str = ""


@dataclass(frozen=True, slots=True)
class Receipt:
    """A receiver was sent an event."""

    subscription: str
    source: str
    id: str
    #: From 1, as the sender counts.
    attempt: int
    at_us: int
    process: int
    #: "accepted", "unanswered" (accepted, and the answer was lost), "failed" or "refused".
    fate: str
    #: The receiver's answer arrived then; None: the process died before.
    answered_us: int | None = None


@dataclass(slots=True)
class Observed:
    """Everything, in order."""

    answers: list[Answer] = field(default_factory=list)
    #: (source, id) of events whose sender was told that the identity is used for other content.
    reused: list[tuple[str, str]] = field(default_factory=list)
    #: Identities that senders tried to tell.
    sent: dict[tuple[str, str], str] = field(default_factory=dict)
    #: (partition, offset) of records that are no events.
    bad_records: list[tuple[int, int]] = field(default_factory=list)
    executions: list[Execution] = field(default_factory=list)
    receipts: list[Receipt] = field(default_factory=list)
    #: (run, microseconds) of cancellations whose asking was answered.
    cancels: list[tuple[str, int]] = field(default_factory=list)
    #: Microseconds at which processes began and ended, and how: "crash", "stop" or "end".
    lives: list[tuple[int, int, str]] = field(default_factory=list)
    #: (microseconds, seconds) of jumps of the wall clock.
    jumps: list[tuple[int, float]] = field(default_factory=list)
    #: What ended a stage, and what nobody caught.
    stage_errors: list[str] = field(default_factory=list)
    #: What was asked for and had not happened when time was over.
    stuck: list[str] = field(default_factory=list)
    #: Microseconds at which faults ceased.
    calm_us: int = 0
