"""What a stage is, and what it is given by the pipeline that it stands in. Pure: times come in as arguments.

`at` is the time of the happening (when the log received the event, or when a timer was due); `now` is the time at which
it is decided. Stages that lose or group events go by `at`, so that a service which was down decides alike; what paces
starts goes by `now`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from tidemill.project.admission import Stage
from tidemill.routing.admission.items import Item, Member
from tidemill.routing.admission.memory import Memory
from tidemill.storage.contract import DispositionKind

__all__ = ["MAX_GROUP", "NONE", "Flow", "StageMachine"]

#: Most events that go on together.
MAX_GROUP = 10_000
#: Nothing goes on.
NONE: tuple[Item, ...] = ()


class Flow(Protocol):
    """What stages may ask of their pipeline."""

    name: str
    memory: Memory

    def hold(self, item: Item, stage: Stage, key: str, since: int) -> bool:
        """Note that the item waits in a stage; False when no more may be held (it is dropped as a dead letter)."""

    def touch(self, member: Member) -> None:
        """Note that something about a held member changes."""

    def settle(self, member: Member, kind: DispositionKind, detail: str, run: str | None = None) -> None:
        """The member's final disposition."""

    def settle_all(self, item: Item, kind: DispositionKind, detail: str) -> None:
        """The final disposition of every member."""

    def plan(self, stage: Stage, key: str, due: int) -> None:
        """Call the stage's `ring` for `key` when `due` is reached; an earlier plan for the key stays."""

    def cancel(self, run: str) -> None:
        """Ask for a run to be cancelled."""


class StageMachine(Protocol):
    """One stage with its state."""

    stage: Stage

    def take(self, item: Item, at: int, now: int) -> Sequence[Item]:
        """An item comes; what goes on to the next stage."""

    def ring(self, key: str, at: int, now: int) -> Sequence[Item]:
        """A planned time is reached, or a later one has been set meanwhile; what goes on to the next stage."""

    def discard(self, item: Item) -> None:
        """Members of an item that is held here are gone, and with the last one the item.

        What paces starts also lets go of an item whose lead has another key now: the pipeline brings it again.
        """

    def restore(self, item: Item) -> None:
        """An item was held here when the last process ended; called in the order in which they came."""
