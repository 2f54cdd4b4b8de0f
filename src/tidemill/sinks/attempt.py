"""One attempt at one delivery: try, decide, record. What it does with time and order is the lane's.

Rule 1. A delivery is marked delivered only after the receiver accepted it; the attempt ends when the mark is
        on disk. A crash in between delivers it again with the same id (at least once, invariant 2).
Rule 2. Given up means a dead letter, in the transaction that marks the delivery: nothing ends without a
        trace.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from tidemill import ids
from tidemill.clock import Clock
from tidemill.errors import SinkRefused, SinkUnavailable, StorageError
from tidemill.events import json_format
from tidemill.events.dataref import reference_of
from tidemill.events.digest import decode_from_log
from tidemill.events.event import LoggedEvent
from tidemill.project.model import Subscription
from tidemill.sinks import schedule
from tidemill.sinks.contract import Sink
from tidemill.sinks.gate import Gate
from tidemill.sinks.marks import Marks
from tidemill.storage.contract import (
    DeadLetter,
    DeadLetters,
    Delivery,
    DeliveryAttempt,
    DeliveryMark,
    DeliveryState,
    EventLog,
    Subscriptions,
)

__all__ = ["STORE_RETRY_SECONDS", "Attempts", "Surroundings", "Tally"]

logger = logging.getLogger(__name__)

#: Seconds before the store is asked again after it could not answer.
STORE_RETRY_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What all attempts share."""

    log: EventLog
    marks: Marks
    clock: Clock
    #: In [0, 1); spreads retries.
    chance: Callable[[], float]
    #: Where redriven deliveries find what they send.
    letters: DeadLetters | None = None
    #: Where the numbers of attempts go on from; None keeps no attempts.
    subscriptions: Subscriptions | None = None
    #: Told (subscription, "delivered" | "failed" | "dead_lettered") of every attempt that ended.
    count: Callable[[str, str], None] | None = None


@dataclass(slots=True)
class Tally:
    """What came of a subscription's attempts since the process started."""

    delivered: int = 0
    #: Attempts that failed and are tried again.
    failed: int = 0
    dead_lettered: int = 0
    #: Why the last failed attempt failed; empty before the first.
    last_error: str = ""


class Attempts:
    """The attempts at deliveries of one subscription."""

    def __init__(
        self, subscription: Subscription, sink: Sink, shared: Surroundings, *, gate: Gate | None = None
    ) -> None:
        self.gate = gate or Gate()
        self._subscription = subscription
        self._letters = shared.letters
        self._subscriptions = shared.subscriptions
        #: Of the newest attempt; None while it is not known.
        self._number: int | None = None
        self._sink = sink
        self._log = shared.log
        self._marks = shared.marks
        self._clock = shared.clock
        self._chance = shared.chance
        self._count = shared.count
        self.tally = Tally()

    async def begin(self) -> None:
        """Find out where the numbers of attempts go on from; to be called before the first `settle`."""
        while self._number is None and self._subscriptions is not None:
            try:
                self._number = await self._subscriptions.newest_attempt(self._subscription.name)
            except StorageError as error:
                self.tally.last_error = str(error)
                await self._clock.sleep(STORE_RETRY_SECONDS)

    async def settle(self, delivery: Delivery) -> Delivery | None:
        """Try `delivery` once; return it with its new time if it is still pending, None when it is done with.

        What is returned is on disk. A store that cannot answer costs time, never a delivery or an attempt.
        """
        try:
            logged = await self._read(delivery)
        except StorageError as error:
            self.tally.last_error = str(error)
            await self._clock.sleep(STORE_RETRY_SECONDS)
            return delivery
        if logged is None:
            missing = SinkRefused("the event is not in the log")
            await self._give_up(delivery, missing, schedule.GiveUp("event_missing"), body=b"", begun=None)
            return None
        if reference_of(logged.event) is not None:
            lost = SinkRefused("the event's data is lost")
            body = json_format.encode(logged.event)
            await self._give_up(delivery, lost, schedule.GiveUp("data_lost"), body=body, begun=None)
            return None
        tried = replace(delivery, attempts=delivery.attempts + 1)
        begun = self._clock.now_us()
        failure = await self._try(logged, tried.attempts)
        if failure is None:
            await self._mark(tried, DeliveryState.DELIVERED, begun=begun)
            self.tally.delivered += 1
            self._tell("delivered")
            return None
        self.tally.last_error = failure.reason
        verdict = schedule.decide_after(
            failure, tried.attempts, max_attempts=self._subscription.max_attempts, chance=self._chance()
        )
        match verdict:
            case schedule.TryAgain():
                return await self._postpone(tried, failure, verdict, begun=begun)
            case schedule.GiveUp():
                body = json_format.encode(logged.event)
                await self._give_up(tried, failure, verdict, body=body, begun=begun)
                return None

    async def _read(self, delivery: Delivery) -> LoggedEvent | None:
        """What is to be sent: the event of the log, or what a redriven dead letter holds in its newest version."""
        if delivery.letter is None or self._letters is None:
            return await self._log.get(delivery.position)
        body = await self._letters.current(delivery.letter)
        if not body:
            return await self._log.get(delivery.position)
        held = LoggedEvent(delivery.position, delivery.due_at, decode_from_log(body))
        return (await self._log.filled([held]))[0]  # its data may have been put back

    async def _try(self, logged: LoggedEvent, attempt: int) -> schedule.Failure | None:
        try:
            await self._sink.deliver(logged, attempt)
        except (SinkUnavailable, SinkRefused) as failure:
            return failure
        except Exception as error:
            # A sink that breaks its contract fails this attempt, not a lane; its text may hold anything.
            return SinkUnavailable(f"the sink failed with {type(error).__name__}")
        return None

    async def _postpone(
        self, tried: Delivery, failure: schedule.Failure, verdict: schedule.TryAgain, *, begun: int
    ) -> Delivery:
        pending = replace(tried, due_at=self._clock.now_us() + round(verdict.delay * 1_000_000))
        facts = {"attempt": tried.attempts, "error": failure.reason, "delay": verdict.delay}
        logger.warning("delivery.failed", extra=_place(tried) | facts)
        await self._mark(pending, DeliveryState.PENDING, failure=failure, begun=begun)
        self.tally.failed += 1
        self._tell("failed")
        return pending

    async def _give_up(
        self,
        tried: Delivery,
        failure: schedule.Failure,
        verdict: schedule.GiveUp,
        *,
        body: bytes,
        begun: int | None,
    ) -> None:
        if verdict.disable and self.gate.is_open:
            # At once, so that nothing more is sent; in the store with the mark.
            self.gate.disable(failure.reason)
            facts = {"subscription": tried.subscription, "error": failure.reason}
            logger.error("subscription.disabled", extra=facts)
        logger.error("delivery.dead_lettered", extra=_place(tried) | {"error": failure.reason})
        letter = DeadLetter(
            id=ids.new_id(),
            at=self._clock.now_us(),
            stage="delivery",
            code=verdict.code,
            detail=failure.reason,
            origin=tried.subscription,
            coordinates=_place(tried)
            | {"attempts": tried.attempts, "status": failure.status}
            | ({} if tried.letter is None else {"redrive_of": tried.letter}),
            body=body,
            position=tried.position,
        )
        await self._mark(
            tried,
            DeliveryState.DEAD_LETTERED,
            failure=failure,
            begun=begun,
            letter=letter,
            gone=failure.reason if verdict.disable else None,
        )
        self.tally.dead_lettered += 1
        self._tell("dead_lettered")

    def _tell(self, outcome: str) -> None:
        if self._count is not None:
            self._count(self._subscription.name, outcome)

    async def _mark(
        self,
        tried: Delivery,
        state: DeliveryState,
        *,
        begun: int | None,
        failure: schedule.Failure | None = None,
        letter: DeadLetter | None = None,
        gone: str | None = None,
    ) -> None:
        detail = "" if failure is None else failure.reason
        mark = DeliveryMark(
            tried.subscription, tried.position, state, tried.attempts, due_at=tried.due_at, detail=detail
        )
        attempt = None if begun is None else self._noted(tried, state, failure, begun)
        await self._marks.write(mark, letter, attempt=attempt, gone=gone)

    def _noted(
        self, tried: Delivery, state: DeliveryState, failure: schedule.Failure | None, begun: int
    ) -> DeliveryAttempt | None:
        """The attempt for the delivery log."""
        if self._number is None:
            return None
        self._number += 1
        return DeliveryAttempt(
            subscription=tried.subscription,
            number=self._number,
            position=tried.position,
            attempt=tried.attempts,
            at=begun,
            duration_us=max(0, self._clock.now_us() - begun),
            outcome="failed" if state is DeliveryState.PENDING else state.value,
            status=None if failure is None else failure.status,
            error="" if failure is None else failure.reason,
        )


def _place(delivery: Delivery) -> dict[str, str | int | None]:
    return {"subscription": delivery.subscription, "position": delivery.position}
