"""LOG → ARCHIVE → GONE: segments of the log that are older, or more, than is kept.

1. A segment is dropped only when it is routed, delivered and its runs have ended, and after it is in the archive
   where there is one. Killed in between, the same segment is archived and dropped again.
2. What nobody delivers (its subscription is paused, disabled or gone) keeps a segment for `undelivered_days`; then it
   is a dead letter.
3. Runs and their histories go after the events that started them, dead letters with the log.
4. One segment at a time, in short transactions: who writes meanwhile waits for one of them at most.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass

from tidemill.clock import Clock
from tidemill.errors import StorageError, StoreUnavailable
from tidemill.events import json_format
from tidemill.ids import new_id
from tidemill.keeping.archive import Archive, Packed
from tidemill.keeping.past import begins_at, read_past
from tidemill.storage.contract import DeadLetter, DeliveryMark, DeliveryState, Segment, Store

__all__ = ["Limits", "Retention"]

logger = logging.getLogger(__name__)

#: Positions per segment.
SEGMENT = 4096
#: Positions dropped in one transaction: who writes meanwhile waits for one at most.
_DROPPED = 256
#: Positions read at once for the archive.
_READ = 128
#: Identities that are remembered at least, whatever their age (PROMISES: the larger of window and number).
REMEMBERED = 10_000_000
_DAY_US = 86_400_000_000
_LOOK_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much is kept; None sets no limit."""

    days: float | None
    size: int | None
    #: How long a dropped event's identity still makes a duplicate.
    dedupe_days: float
    #: How long events wait for a subscription that does not deliver.
    undelivered_days: float | None = None


class Retention:
    """Keeps the log within its limits."""

    def __init__(
        self,
        store: Store,
        limits: Limits,
        archive: Archive | None,
        *,
        clock: Clock,
        delivering: Callable[[], Collection[str] | None] = lambda: None,
    ) -> None:
        """`delivering`: names of the subscriptions that deliver; None while that is not known."""
        self._store = store
        self._limits = limits
        self._archive = archive
        self._clock = clock
        self._delivering = delivering
        #: Bytes of the log from the oldest event up to `_measured`; None before the first look.
        self._size: int | None = None
        self._measured = 0

    async def run(self) -> None:
        """Keep the log within its limits until cancelled."""
        while True:
            try:
                await self.look()
            except StoreUnavailable:
                pass  # looked again soon; nothing is half done
            except StorageError as error:
                logger.error("retention.failed", extra={"error": str(error)})
            await self._clock.sleep(_LOOK_SECONDS)

    async def look(self) -> int:
        """Drop what is beyond the limits now; how many events were dropped."""
        if self._limits.days is None and self._limits.size is None:
            return 0
        dropped = 0
        try:
            while (segment := await self._next()) is not None:
                await self._drop(segment)
                dropped += segment.last - segment.first + 1
        except StorageError:
            self._size = None  # what was dropped nobody knows: measured anew
            raise
        await self._tidy()
        return dropped

    async def _next(self) -> Segment | None:
        """The oldest segment when it is to be dropped."""
        keeping, head = self._store.keeping, self._store.log.head
        oldest = await keeping.oldest()
        if oldest is None:
            return None
        # Segments have fixed borders, so that every node archives the same files.
        first = oldest[0]
        last = (first - 1) // SEGMENT * SEGMENT + SEGMENT
        if last >= head:
            return None
        segment = await keeping.segment(first, last)
        if segment is None or not await self._is_over(segment, head):
            return None
        if last >= await keeping.needed_from():
            await self._give_up_deliveries(segment)
            if last >= await keeping.needed_from():
                return None
        return segment

    async def _is_over(self, segment: Segment, head: int) -> bool:
        """Whether a limit says that the oldest segment goes."""
        days, size = self._limits.days, self._limits.size
        if days is not None and segment.received_at < self._clock.now_us() - days * _DAY_US:
            return True
        return size is not None and await self._measure(head, segment.first) > size

    async def _give_up_deliveries(self, segment: Segment) -> None:
        """Make dead letters of what waits in a segment for subscriptions that have not delivered for too long."""
        days, delivering, now = self._limits.undelivered_days, self._delivering(), self._clock.now_us()
        if days is None or delivering is None or segment.received_at >= now - days * _DAY_US:
            return
        pending = await self._store.keeping.undelivered(segment.first, segment.last)
        left = [one for one in pending if one[0] not in delivering]
        for start in range(0, len(left), _DROPPED):
            page = left[start : start + _DROPPED]
            logged = await self._store.log.at(sorted({position for _, position, _ in page}))
            events = {one.position: json_format.encode(one.event) for one in logged}
            letters = [_undelivered(*one, body=events.get(one[1], b""), at=now) for one in page]
            marks = [
                DeliveryMark(name, position, DeliveryState.DEAD_LETTERED, attempts, detail="undelivered")
                for name, position, attempts in page
            ]
            await self._store.outbox.mark(marks, letters)
        if left:
            facts = {"first": segment.first, "last": segment.last, "deliveries": len(left)}
            logger.warning("retention.gave_up_deliveries", extra=facts)

    async def _measure(self, head: int, first: int) -> int:
        """Bytes of all bodies; each is read once."""
        if self._size is None:
            self._size, self._measured = 0, first - 1
        self._size += await self._store.keeping.size(self._measured, head)
        self._measured = head
        return self._size

    async def _drop(self, segment: Segment) -> None:
        name = None if self._archive is None else await self._keep(self._archive, segment)
        now = self._clock.now_us()
        for first in range(segment.first, segment.last + 1, _DROPPED):
            await self._store.keeping.drop(
                first,
                min(first + _DROPPED - 1, segment.last),
                remember_since=int(now - self._limits.dedupe_days * _DAY_US),
                remember_above=self._store.log.head - REMEMBERED,
            )
        if self._size is not None:
            self._size -= segment.size
        facts = {"first": segment.first, "last": segment.last, "archived": name}
        logger.info("retention.dropped", extra=facts)

    async def _keep(self, archive: Archive, segment: Segment) -> str:
        """The file that holds the segment; written where there is none (a drop that was cut off has left one)."""
        if (name := await archive.holding(segment.first, segment.last)) is not None:
            return name
        packed = Packed()
        for first in range(segment.first, segment.last + 1, _READ):
            if page := await read_past(self._store, first, min(first + _READ - 1, segment.last)):
                await packed.add(page)
        if await begins_at(self._store) != segment.first:
            # Another node has archived it whole; what was read here may lack what is gone.
            raise StorageError("somebody else drops the same segment")
        return await archive.keep(packed)

    async def _tidy(self) -> None:
        """What belongs to events that are gone."""
        oldest = await self._store.keeping.oldest()
        if oldest is None:
            return
        now, days = self._clock.now_us(), self._limits.days
        before = 0 if days is None else int(now - days * _DAY_US)
        if self._limits.size is not None and oldest[0] > 1:
            # Where the size decides, what ended before the oldest event was received goes with the events of its time.
            before = max(before, oldest[1])
        runs = await self._store.keeping.drop_runs(below=oldest[0], ended_before=before)
        if runs:
            logger.info("retention.dropped_runs", extra={"runs": runs})
        await self._store.replays.forget(before=before)
        await self._store.keeping.forget(
            before=before,
            identities_before=int(now - self._limits.dedupe_days * _DAY_US),
            identities_below=self._store.log.head - REMEMBERED,
        )
        if self._archive is None:  # else what is archived still refers to its data
            await self._store.keeping.forget_data(before=oldest[1])


def _undelivered(subscription: str, position: int, attempts: int, *, body: bytes, at: int) -> DeadLetter:
    place = {"subscription": subscription, "position": position, "attempts": attempts, "status": None}
    return DeadLetter(
        id=new_id(),
        at=at,
        stage="delivery",
        code="undelivered",
        detail="the subscription has not delivered for too long",
        origin=subscription,
        coordinates=place,
        body=body,
        position=position,
    )
