"""Completion events to the outside: one lane for each subscription, so that no receiver delays another.

The dispatcher shares with the other stages only the event log and the outbox. Everything it must remember is
in the outbox: killed at any line, it goes on from there, and at worst delivers again what was accepted and
not yet marked.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence

from tidemill.clock import Clock
from tidemill.project.model import Subscription
from tidemill.sinks.attempt import Attempts, Surroundings
from tidemill.sinks.contract import Sink
from tidemill.sinks.gate import Gate
from tidemill.sinks.lane import LOOK_AGAIN_SECONDS, Lane, LaneStatus
from tidemill.sinks.marks import Marks
from tidemill.storage.contract import DeadLetters, EventLog, Outbox, Subscriptions

__all__ = ["Dispatcher"]


class Dispatcher:
    """Delivers what is in the outbox.

    `sinks` are by subscription name; they stay the caller's, who closes them after `run` has ended. A
    subscription without a sink is shown as disabled, and what is pending for it stays pending. `concurrency`
    bounds the attempts under way of one unordered subscription, `drain_seconds` how long they may go on after
    a stop. `chance` in [0, 1) spreads retries; `count` is told (subscription, "delivered" | "failed" |
    "dead_lettered") of every attempt. `letters` has what redriven deliveries send, `attempts` keeps the log of
    attempts, `gates` say by subscription whether it may deliver (one without a gate may). An idle lane looks into the
    outbox by itself after `look_again_seconds`.
    """

    def __init__(
        self,
        subscriptions: Sequence[Subscription],
        sinks: Mapping[str, Sink],
        *,
        log: EventLog,
        outbox: Outbox,
        clock: Clock,
        concurrency: int = 8,
        drain_seconds: float = 5.0,
        chance: Callable[[], float] = random.random,
        count: Callable[[str, str], None] | None = None,
        letters: DeadLetters | None = None,
        attempts: Subscriptions | None = None,
        gates: Mapping[str, Gate] | None = None,
        look_again_seconds: float = LOOK_AGAIN_SECONDS,
    ) -> None:
        marks = Marks(outbox, clock=clock)
        shared = Surroundings(
            log=log,
            marks=marks,
            clock=clock,
            chance=chance,
            count=count,
            letters=letters,
            subscriptions=attempts,
        )
        self._lanes: list[Lane] = []
        self._without_sink: list[LaneStatus] = []
        for subscription in subscriptions:
            name = subscription.name
            if name not in sinks:
                self._without_sink.append(_without_sink(name))
                continue
            lane = Lane(
                name,
                Attempts(subscription, sinks[name], shared, gate=(gates or {}).get(name)),
                outbox=outbox,
                clock=clock,
                ordered=subscription.ordered,
                concurrency=concurrency,
                drain_seconds=drain_seconds,
                look_again_seconds=look_again_seconds,
            )
            self._lanes.append(lane)

    async def run(self) -> None:
        """Deliver until cancelled; then drain all lanes at once, each for at most `drain_seconds`."""
        async with asyncio.TaskGroup() as lanes:
            for lane in self._lanes:
                lanes.create_task(lane.run())
            # Without lanes, and with all of them disabled, the stage still runs until it is stopped.
            await asyncio.Event().wait()

    def status(self) -> list[LaneStatus]:
        """How every subscription is doing now."""
        return [lane.status() for lane in self._lanes] + self._without_sink


def _without_sink(name: str) -> LaneStatus:
    return LaneStatus(subscription=name, pending_complete=False, last_error="its sink is off", disabled=True)
