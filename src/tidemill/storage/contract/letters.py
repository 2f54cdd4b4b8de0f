"""Dead letters: what could not go on, and what people did with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from tidemill.events.event import Event

__all__ = ["ActionKind", "DeadLetter", "DeadLetters", "LetterAction", "LetterState"]


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
    #: See `LetterState`.
    state: str = "open"


class LetterState(StrEnum):
    """Where a dead letter stands."""

    OPEN = "open"
    REDRIVEN = "redriven"
    DISCARDED = "discarded"


class ActionKind(StrEnum):
    """What can be done with a dead letter."""

    EDITED = "edited"
    REDRIVEN = "redriven"
    DISCARDED = "discarded"


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterAction:
    """What somebody did with a dead letter."""

    letter: str
    #: From 1, without gaps: of two who act at once one is refused.
    number: int
    at: int
    by: str
    kind: ActionKind
    reason: str = ""
    #: JSON values: the patch of an edit, the position that a redrive gave.
    detail: Mapping[str, Any] = field(default_factory=dict)
    #: The new version of the bytes, for an edit.
    body: bytes | None = None


class DeadLetters(Protocol):
    """What could not go on."""

    async def add(self, letters: Sequence[DeadLetter]) -> None:
        """Keep dead letters (sources use `Append.dead_letters` to keep them with their cursor)."""

    async def list(
        self,
        *,
        stage: str | None,
        before: str | None,
        limit: int,
        state: str | None = None,
        code: str | None = None,
        origin: str | None = None,
    ) -> list[DeadLetter]:
        """Newest first (by id) with id < `before`, without bodies above 4 KiB."""

    async def get(self, letter_id: str) -> DeadLetter | None:
        """One dead letter with its whole body, as it came."""

    async def actions(self, letter_id: str) -> Sequence[LetterAction]:
        """What was done with a dead letter, in order."""

    async def current(self, letter_id: str) -> bytes | None:
        """The bytes of the newest version; None when there is no such letter."""

    async def act(
        self,
        action: LetterAction,
        *,
        append: Event | None = None,
        deliver: tuple[str, int] | None = None,
    ) -> int | None:
        """Record an action and do what it means, in one transaction; the position of the appended event.

        `append` goes into the log, `deliver` (subscription, position) is pending again with what the letter holds.
        Raises `CursorMoved` when somebody else has acted since (read the actions again), `EventRejected`
        (`id_reused`) when the event's identity is in the log with other content; then nothing is changed.
        """
