"""Delivery marks on their way to the outbox: those of all lanes that gather while one write is in flight go
together.

Keeps invariant 2 from the other side: a mark is handed in only after the receiver's answer, and whoever
handed it in goes on only when it is on disk. A store that is unavailable makes lanes wait here, with no more
deliveries in hand than their concurrency; if the process dies meanwhile, those are delivered again (at least
once).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from tidemill.clock import Clock
from tidemill.errors import StorageError
from tidemill.storage.contract import DeadLetter, DeliveryAttempt, DeliveryMark, Outbox

__all__ = ["MAX_BATCH", "Marks"]

#: Most marks in one write.
MAX_BATCH = 500
#: Seconds before the first and the last of the retries of a write that failed; doubled in between.
RETRY_SECONDS = (0.1, 5.0)


@dataclass(eq=False, slots=True)
class _Entry:
    mark: DeliveryMark
    letter: DeadLetter | None
    attempt: DeliveryAttempt | None
    #: The receiver is gone, and why.
    gone: str | None
    written: bool = False


class Marks:
    """Writes marks in groups. Needs no task of its own: the first of those who wait writes for all."""

    def __init__(self, outbox: Outbox, *, clock: Clock) -> None:
        self._outbox = outbox
        self._clock = clock
        self._entries: list[_Entry] = []
        self._turn = asyncio.Lock()

    async def write(
        self,
        mark: DeliveryMark,
        letter: DeadLetter | None = None,
        *,
        attempt: DeliveryAttempt | None = None,
        gone: str | None = None,
    ) -> None:
        """Return when `mark` is on disk with all that belongs to it; tries again while the store cannot take it."""
        entry = _Entry(mark, letter, attempt, gone)
        self._entries.append(entry)
        delay, longest = RETRY_SECONDS
        while not entry.written:
            async with self._turn:
                if entry.written or await self._flush():
                    continue
            await self._clock.sleep(delay)
            delay = min(longest, 2 * delay)

    async def _flush(self) -> bool:
        """Write the oldest entries together; they stay where they are until that has succeeded."""
        group = self._entries[:MAX_BATCH]
        letters = [entry.letter for entry in group if entry.letter is not None]
        try:
            await self._outbox.mark(
                [entry.mark for entry in group],
                letters,
                attempts=[entry.attempt for entry in group if entry.attempt is not None],
                disabled={entry.mark.subscription: entry.gone for entry in group if entry.gone is not None},
            )
        except StorageError:
            return False
        del self._entries[: len(group)]
        for entry in group:
            entry.written = True
        return True
