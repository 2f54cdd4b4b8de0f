"""What could not go on, on whatever database is behind `Reading` and `Writing`.

The bytes as they came are never changed: an edit is an action with a new version. Actions of a letter are numbered, and
the number is a key of the table, so that of two people who act at once one is refused and nothing is done twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from tidemill.clock import Clock
from tidemill.events.event import Event
from tidemill.storage.claims import EventData
from tidemill.storage.commit import AppendJob, StatementJob, event_row
from tidemill.storage.contract import (
    ActionKind,
    Append,
    Appended,
    DeadLetter,
    LetterAction,
    LetterState,
)
from tidemill.storage.reading import Reading
from tidemill.storage.rows import dead_letter_from_row
from tidemill.storage.writing import Writing

__all__ = ["StoredDeadLetters"]

#: Sorts after every id.
_LAST = "\x7f"
#: What an action makes of its letter.
_STATES = {ActionKind.REDRIVEN: LetterState.REDRIVEN, ActionKind.DISCARDED: LetterState.DISCARDED}


class StoredDeadLetters:
    """See `DeadLetters`."""

    def __init__(
        self, *, writer: Writing, reading: Reading, clock: Clock, data: EventData | None = None
    ) -> None:
        self._writer = writer
        self._reading = reading
        self._clock = clock
        self._data = data

    async def add(self, letters: Sequence[DeadLetter]) -> None:
        await self._writer.submit(StatementJob((), tuple(letters)))

    async def list(
        self,
        *,
        stage: str | None,
        before: str | None,
        limit: int,
        state: str | None = None,
        code: str | None = None,
        origin: str | None = None,
    ) -> list[DeadLetter]:
        where = [
            ("stage = {}", stage or None),
            ("state = {}", state or None),
            ("code = {}", code or None),
            ("origin = {}", origin or None),
        ]
        rows = await self._reading.rows("list_dead_letters", before or _LAST, limit, where=where)
        return [dead_letter_from_row(row) for row in rows]

    async def get(self, letter_id: str) -> DeadLetter | None:
        rows = await self._reading.rows("dead_letter", letter_id)
        return next(map(dead_letter_from_row, rows), None)

    async def actions(self, letter_id: str) -> Sequence[LetterAction]:
        return [_action_from_row(row) for row in await self._reading.rows("letter_actions", letter_id)]

    async def current(self, letter_id: str) -> bytes | None:
        for action in reversed(await self.actions(letter_id)):
            if action.body is not None:
                return action.body
        letter = await self.get(letter_id)
        return None if letter is None else letter.body

    async def act(
        self,
        action: LetterAction,
        *,
        append: Event | None = None,
        deliver: tuple[str, int] | None = None,
    ) -> int | None:
        at = self._clock.now_us()
        also: list[tuple[str, Sequence[tuple[Any, ...]]]] = [("insert_letter_action", [_action_row(action)])]
        if action.kind in _STATES:
            also.append(("set_letter_state", [(_STATES[action.kind].value, action.letter)]))
        if deliver is not None:
            also.append(("redeliver", [(*deliver, at, action.letter)]))
            also.append(("touch_subscription", [(deliver[0], at)]))
        if append is None:
            await self._writer.submit(StatementJob(also))
            return None
        data = self._data
        rows = [event_row(append, at)] if data is None else await data.rows([append], self._clock)
        job = AppendJob(Append(events=[append]), rows, at, also=also)
        answers: list[Appended] = await self._writer.submit(job)
        return answers[0].position


def _action_row(action: LetterAction) -> tuple[Any, ...]:
    detail = orjson.dumps(action.detail).decode()
    return (
        action.letter,
        action.number,
        action.at,
        action.by,
        action.kind.value,
        action.reason,
        detail,
        action.body,
    )


def _action_from_row(row: tuple[Any, ...]) -> LetterAction:
    letter, number, at, by, kind, reason, detail, body = row
    return LetterAction(
        letter=letter,
        number=number,
        at=at,
        by=by,
        kind=ActionKind(kind),
        reason=reason,
        detail=orjson.loads(detail),
        body=body,
    )
