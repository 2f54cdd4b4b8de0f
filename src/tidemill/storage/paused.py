"""Which things of one kind are paused, by name: durable, and known to every node.

1. A pause is a cursor of the ledger (`KIND-paused/NAME`): when it was paused, or empty once it is resumed. It outlives
   the process and holds on every node.
2. What this process was told last holds until something newer was read: a look that began before a change here does
   not undo it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from enum import StrEnum
from typing import assert_never

from tidemill.clock import Clock, rfc3339
from tidemill.errors import CursorMoved, StorageError
from tidemill.storage.contract import Append, CursorMove, EventLog, Ledger

__all__ = ["PausedKind", "PausedNames"]

logger = logging.getLogger(__name__)

#: How soon a pause that was asked for at another node is noticed, in seconds.
_LOOK_SECONDS = 1.0


class PausedKind(StrEnum):
    """A kind of things that can be paused."""

    SOURCE = "source"
    TRIGGER = "trigger"

    @property
    def prefix(self) -> str:
        """Of their cursors."""
        return f"{self.value}-paused/"


class PausedNames:
    """The pauses of all things of one kind; `load` before the first question."""

    def __init__(
        self,
        log: EventLog,
        ledger: Ledger,
        *,
        kind: PausedKind,
        clock: Clock,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        """`changed` is called whenever something was paused or resumed, here or (see `follow`) elsewhere."""
        self._log = log
        self._ledger = ledger
        self._kind = kind
        self._clock = clock
        self._tell = changed
        #: Name to when it was paused.
        self._paused: dict[str, str] = {}
        #: Changes made here.
        self._moves = 0
        self._changed = asyncio.Event()

    @property
    def names(self) -> frozenset[str]:
        """What is paused."""
        return frozenset(self._paused)

    async def load(self) -> bool:
        """Read what is on disk, and say whether that is something new; raises `StorageError`."""
        while True:
            moves = self._moves
            found = await self._ledger.cursors(self._kind.prefix)
            if moves == self._moves:
                return self._adopt(
                    {name.removeprefix(self._kind.prefix): at for name, at in found.items() if at}
                )

    async def follow(self) -> None:
        """Notice what other nodes are told, until cancelled."""
        while True:
            await self._clock.sleep(_LOOK_SECONDS)
            try:
                is_new = await self.load()
            except StorageError:
                continue  # what was known last holds
            if is_new:
                self._tell()

    def is_paused(self, name: str) -> bool:
        """Whether it is paused."""
        return name in self._paused

    def paused_at(self, name: str) -> str | None:
        """When it was paused, RFC 3339; None while it is not."""
        return self._paused.get(name)

    async def pause(self, name: str) -> None:
        """Pause it; durable on return. Pausing again changes nothing."""
        await self._move(name, rfc3339(self._clock.now_us()))

    async def resume(self, name: str) -> None:
        """Let it go on; durable on return. Resuming again changes nothing."""
        await self._move(name, "")

    async def wait_until(self, name: str, *, paused: bool) -> None:
        """Return as soon as it is paused, or is not."""
        while self.is_paused(name) is not paused:
            await self._changed.wait()

    async def _move(self, name: str, value: str) -> None:
        kind = self._kind
        while True:
            found = await self._ledger.cursor(kind.prefix + name)
            if bool(found) is bool(value):
                break
            move = CursorMove(kind.prefix + name, found, value)
            try:
                await self._log.append(Append(cursors=[move], origin=name))
            except CursorMoved:
                continue  # somebody else moved it just now: look again
            _log(kind, name, paused=bool(value))
            found = value
            break
        self._moves += 1
        paused = {key: at for key, at in self._paused.items() if key != name}
        if self._adopt({**paused, name: found} if found else paused):
            self._tell()

    def _adopt(self, paused: dict[str, str]) -> bool:
        if paused.keys() == self._paused.keys():
            return False
        changed, self._changed = self._changed, asyncio.Event()
        self._paused = paused
        changed.set()
        return True


def _log(kind: PausedKind, name: str, *, paused: bool) -> None:
    match kind:
        case PausedKind.SOURCE if paused:
            logger.info("source.paused", extra={"source": name})
        case PausedKind.SOURCE:
            logger.info("source.resumed", extra={"source": name})
        case PausedKind.TRIGGER if paused:
            logger.info("trigger.paused", extra={"trigger": name})
        case PausedKind.TRIGGER:
            logger.info("trigger.resumed", extra={"trigger": name})
        case _:
            assert_never(kind)
