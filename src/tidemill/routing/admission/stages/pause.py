"""Pause: what matches a paused trigger waits until it goes on, in order and as if it had never been paused."""

from __future__ import annotations

from collections.abc import Sequence

from tidemill.project.admission import Stage
from tidemill.routing.admission.items import Item
from tidemill.routing.admission.stages.contract import NONE, Flow

__all__ = ["Pause"]


class Pause:
    """Holds everything while it is paused."""

    stage = Stage.PAUSE

    def __init__(self, flow: Flow, *, paused: bool) -> None:
        self._flow = flow
        self._paused = paused
        self._held: dict[int, Item] = {}

    def take(self, item: Item, at: int, now: int) -> Sequence[Item]:
        if not self._paused:
            return (item,)
        if self._flow.hold(item, self.stage, "", at):
            self._held[item.lead.position] = item
        return NONE

    def ring(self, key: str, at: int, now: int) -> Sequence[Item]:
        return NONE

    def drain(self) -> list[Item]:
        """Everything that waited, in order; only when it is not paused."""
        if self._paused:
            return []
        items, self._held = list(self._held.values()), {}
        return items

    def discard(self, item: Item) -> None:
        del self._held[item.lead.position]

    def restore(self, item: Item) -> None:
        self._held[item.lead.position] = item
