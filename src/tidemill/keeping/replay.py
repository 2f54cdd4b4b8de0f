"""THE PAST → LOG: recorded events are told again as replays ask for it.

1. Events that are told again are appended in the transaction that moves the replay's cursor, under identities derived
   from the replay: killed at any line, none is told twice and none is left out.
2. What is told again goes the way of every event: through the log to the router.
3. Replays are worked on in turn, page by page, and wait while the backlog is full: live events go first.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from tidemill.clock import Clock
from tidemill.errors import CursorMoved, StoreUnavailable
from tidemill.events import lifecycle
from tidemill.events.dataref import reference_of
from tidemill.events.event import Event
from tidemill.keeping.archive import Archive, Archived
from tidemill.keeping.past import tell_past
from tidemill.patterns.filters import compile_filters
from tidemill.storage.contract import DispositionKind, Store
from tidemill.storage.replay import Replay, ReplayState

__all__ = ["Replayer"]

logger = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0
#: Until an order that failed is tried again, in microseconds.
_FAILED_US = 60_000_000
#: Events told in one transaction at most; with a rate, a tenth of a second's worth.
_BATCH = 256
#: Events looked at without telling any before the progress is kept.
_SKIPPED = 4096


class Replayer:
    """Carries out replays."""

    def __init__(self, store: Store, archive: Archive | None, *, clock: Clock) -> None:
        self._store = store
        self._archive = archive
        self._clock = clock

    async def run(self) -> None:
        """Carry out what is asked for until cancelled."""
        #: Orders that failed, each with the time at which it is tried again.
        failed: dict[str, int] = {}
        while True:
            try:
                for order in await self._store.replays.list():
                    if order.state is ReplayState.RUNNING and self._clock.now_us() >= failed.get(order.id, 0):
                        await self._try(order, failed)
            except StoreUnavailable:
                pass  # nothing is half done; looked again soon
            await self._clock.sleep(_LOOK_SECONDS)

    async def _try(self, order: Replay, failed: dict[str, int]) -> None:
        """Carry out one order; what is wrong with it, or with the archive, holds up no other."""
        try:
            await self._carry_out(order)
        except StoreUnavailable:
            raise
        except Exception as error:
            failed[order.id] = self._clock.now_us() + _FAILED_US
            logger.exception("replay.failed", extra={"replay": order.id, "error": repr(error)})

    async def _carry_out(self, order: Replay) -> None:
        """Tell all events of one order; returns early when somebody else has moved it (it was cancelled, say)."""
        telling = _Telling(order)
        try:
            async for page in tell_past(self._store, self._archive, after=order.position, until=order.until):
                for archived in page:
                    telling.look(archived)
                    if telling.is_full:
                        await self._keep(telling)
            telling.end()
            await self._keep(telling)
        except CursorMoved:
            return
        done = telling.kept
        logger.info("replay.ended", extra={"replay": done.id, "told": done.told, "skipped": done.skipped})

    async def _keep(self, telling: _Telling) -> None:
        await self._store.log.wait_for_room()
        told, rate = len(telling.events), telling.order.rate
        await self._store.replays.advance(telling.kept, telling.reached, telling.events)
        telling.keep()
        if rate is not None and told:
            await self._clock.sleep(told / rate)


class _Telling:
    """One order being carried out: what is to be told next, and how far it got."""

    def __init__(self, order: Replay) -> None:
        self.order = order
        #: As it is on disk.
        self.kept = order
        #: As it will be when `events` are told.
        self.reached = order
        self.events: list[Event] = []
        self._rule = compile_filters(list(order.filters)) if order.filters else None
        self._size = _BATCH if order.rate is None else max(1, min(_BATCH, int(order.rate / 10)))

    @property
    def is_full(self) -> bool:
        """True when progress should be kept."""
        return len(self.events) >= self._size or self.reached.position - self.kept.position >= _SKIPPED

    def look(self, archived: Archived) -> None:
        """Take one recorded event, or leave it."""
        position = archived.logged.position
        if self._is_wanted(archived):
            self.events.append(
                lifecycle.replayed(
                    archived.logged.event,
                    replay=self.order.id,
                    position=position,
                    triggers=self.order.triggers,
                )
            )
            self.reached = replace(self.reached, position=position, told=self.reached.told + 1)
        else:
            self.reached = replace(self.reached, position=position, skipped=self.reached.skipped + 1)

    def keep(self) -> None:
        """What was reached is on disk."""
        self.kept, self.events = self.reached, []

    def end(self) -> None:
        """Everything was looked at."""
        self.reached = replace(self.reached, position=self.order.until, state=ReplayState.DONE)

    def _is_wanted(self, archived: Archived) -> bool:
        order, logged = self.order, archived.logged
        event, at = logged.event, logged.received_at
        if "replayid" in event.extensions:
            return False  # told again already: its original is here as well
        if reference_of(event) is not None:
            return False  # its data is lost, which was said when it was looked for
        return (
            (order.received_from is None or at >= order.received_from)
            and (order.received_before is None or at < order.received_before)
            and (order.type is None or event.type == order.type)
            and (order.source is None or event.source == order.source)
            and (order.subject is None or event.subject == order.subject)
            and (self._rule is None or self._rule.matches(event))
            and not (order.if_no_runs and _has_run(archived, order.triggers))
        )


def _has_run(archived: Archived, triggers: Sequence[str]) -> bool:
    return any(
        one.disposition.kind is DispositionKind.RUN and (not triggers or one.disposition.trigger in triggers)
        for one in archived.became
    )
