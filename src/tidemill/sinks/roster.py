"""Which subscriptions there are and whether each delivers, as the store says it: followed by one stage on every node.

1. Those of the project are there from the start; those made by API come, change and go while the service runs. One that
   changed ends before it begins again: no event is sent by two lanes.
2. A definition that cannot be used is left out and told of; it stops nobody else.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Any

import orjson

from tidemill.clock import Clock
from tidemill.errors import StorageError, TidemillError
from tidemill.project.made import build_made
from tidemill.project.model import Subscription
from tidemill.sinks.gate import Gate
from tidemill.sinks.signature import SigningKey, signing_key
from tidemill.storage.contract import MadeSubscription, Subscriptions, SubscriptionState, SubscriptionStatus
from tidemill.storage.pauses import pause_after

__all__ = ["Roster", "signing_keys"]

logger = logging.getLogger(__name__)

#: Beyond every position.
_NOW = (1 << 63) - 1

Begin = Callable[[Subscription, tuple[SigningKey, ...]], None]
End = Callable[[str], Awaitable[None]]


class Roster:
    """Follows the store; `begin(subscription, keys)` and `end(name)` start and stop the lanes of those made by API."""

    def __init__(
        self, subscriptions: Subscriptions, names: Iterable[str], *, clock: Clock, begin: Begin, end: End
    ) -> None:
        self._subscriptions = subscriptions
        self._clock = clock
        self._begin = begin
        self._end = end
        #: Gate of every subscription, by name.
        self.gates: dict[str, Gate] = {name: Gate(known=False) for name in names}
        self._states: Mapping[str, SubscriptionStatus] | None = None
        #: Position of the change that the lane of a made subscription began with.
        self._running: dict[str, int] = {}
        #: The last change under way of each, so that changes of one follow each other and those of others do not.
        self._moves: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Follow until cancelled."""
        async with asyncio.TaskGroup() as moves:
            await self._run(moves)

    async def _run(self, moves: asyncio.TaskGroup) -> None:
        failures = 0
        while True:
            seen = self._subscriptions.version
            try:
                made = await self._subscriptions.at(_NOW)
                self._states = await self._subscriptions.states()
            except StorageError:
                failures += 1
                await self._clock.sleep(pause_after(failures))
                continue
            failures = 0
            self._follow(made, moves)
            for name, gate in self.gates.items():
                gate.tell(self._states.get(name))
            await self._subscriptions.wait_for_change(seen)

    def gate(self, name: str) -> Gate:
        """The gate of a subscription that has come since (the project was loaded again)."""
        if name not in self.gates:
            gate = self.gates[name] = Gate(known=False)
            if self._states is not None:
                gate.tell(self._states.get(name))
        return self.gates[name]

    def delivering(self, project: Iterable[str]) -> frozenset[str] | None:
        """Those of these and of those made by API that are active; None before the store was asked."""
        states = self._states
        if states is None:
            return None
        return frozenset(
            name
            for name in (*project, *self._running)
            if name not in states or states[name].state is SubscriptionState.ACTIVE
        )

    def _follow(self, made: list[MadeSubscription], moves: asyncio.TaskGroup) -> None:
        wanted: dict[str, MadeSubscription | None] = dict.fromkeys(self._running)
        wanted.update({one.id: one for one in made})
        for name, one in wanted.items():
            before = self._running.get(name)
            if one is not None and before == one.position:
                continue
            if one is None:
                del self._running[name]
            else:
                self._running[name] = one.position
            move = self._move(self._moves.get(name), name, one, ends=before is not None)
            task = self._moves[name] = moves.create_task(move)
            task.add_done_callback(partial(self._moved, name))

    async def _move(
        self, previous: asyncio.Task[None] | None, name: str, one: MadeSubscription | None, *, ends: bool
    ) -> None:
        """End the lane that there is and begin the one that is wanted; its receiver may take its time."""
        if previous is not None:
            await asyncio.wait([previous])
        if ends:
            await self._end(name)
            self.gates.pop(name, None)
        if one is not None:
            self._start(one)

    def _moved(self, name: str, task: asyncio.Task[None]) -> None:
        if self._moves.get(name) is task:
            del self._moves[name]

    def _start(self, one: MadeSubscription) -> None:
        try:
            body = orjson.loads(one.body)
            subscription, keys = build_made(one.id, body["subscription"]), signing_keys(body)
            self.gate(one.id)
            self._begin(subscription, keys)
        except (TidemillError, ValueError, KeyError, TypeError) as error:
            logger.error(
                "subscription.unusable", extra={"subscription": one.id, "error": type(error).__name__}
            )


def signing_keys(body: Mapping[str, Any]) -> tuple[SigningKey, ...]:
    """The keys that a made subscription's deliveries are signed with."""
    return tuple(SigningKey(signing_key(one["key"]), one.get("until")) for one in body.get("secrets") or ())
