"""Replays: recorded events that are told again to triggers, each as a durable order with its progress.

An order and how far it is carried out are one cursor of the ledger, so that progress moves in the transaction of the
events that are told again: whatever dies, none of them is told twice or left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import orjson

from tidemill.errors import CursorMoved
from tidemill.events.event import Event
from tidemill.storage.commit import StatementJob
from tidemill.storage.contract import Append, CursorMove, EventLog, Ledger
from tidemill.storage.replay import Replay, ReplayState
from tidemill.storage.writing import Writing

__all__ = ["StoredReplays"]

_PREFIX = "replay/"


class StoredReplays:
    """See `Replays`."""

    def __init__(self, *, log: EventLog, ledger: Ledger, writer: Writing) -> None:
        self._writer = writer
        self._log = log
        self._ledger = ledger

    async def add(self, replay: Replay) -> None:
        """Keep a new order; durable on return. Raises `CursorMoved` when there is one with its id."""
        await self._log.append(Append(cursors=(CursorMove(_PREFIX + replay.id, None, _encode(replay)),)))

    async def list(self) -> list[Replay]:
        """All orders, oldest first."""
        found = (await self._ledger.cursors(_PREFIX)).items()
        return sorted(
            (_decode(name, value) for name, value in found), key=lambda replay: (replay.at, replay.id)
        )

    async def get(self, replay_id: str) -> Replay | None:
        """One order."""
        value = await self._ledger.cursor(_PREFIX + replay_id)
        return None if value is None else _decode(_PREFIX + replay_id, value)

    async def advance(self, replay: Replay, to: Replay, events: Sequence[Event] = ()) -> None:
        """Append events and move the order from `replay` to `to` in one transaction.

        Raises `CursorMoved` when somebody else moved it: read it again.
        """
        move = CursorMove(_PREFIX + replay.id, _encode(replay), _encode(to))
        await self._log.append(Append(events=events, cursors=(move,), refuse_reuse=False, origin="replay"))

    async def forget(self, *, before: int) -> int:
        """Forget orders that have ended and were asked for before that time; durable on return. How many."""
        found = (await self._ledger.cursors(_PREFIX)).items()
        orders = [(name, value, _decode(name, value)) for name, value in found]
        old = [
            (name, value)
            for name, value, order in orders
            if order.state is not ReplayState.RUNNING and order.at < before
        ]
        if old:
            await self._writer.submit(StatementJob((("drop_cursor", old),)))
        return len(old)

    async def cancel(self, replay_id: str) -> Replay | None:
        """Stop an order where it stands; what it is now, None when there is none."""
        while (replay := await self.get(replay_id)) is not None and replay.state is ReplayState.RUNNING:
            try:
                await self.advance(replay, replace(replay, state=ReplayState.CANCELLED))
            except CursorMoved:
                continue  # it advanced a moment ago
        return replay


def _encode(replay: Replay) -> str:
    members = {name: getattr(replay, name) for name in Replay.__slots__ if name != "id"}
    return orjson.dumps(members).decode()


def _decode(name: str, value: str) -> Replay:
    members = orjson.loads(value)
    members["state"] = ReplayState(members["state"])
    return Replay(id=name.removeprefix(_PREFIX), **members)
