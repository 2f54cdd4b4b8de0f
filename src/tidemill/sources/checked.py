"""The event log as sources that pull are given it: what does not follow the project's schemas is a dead letter.

One place for every source without a sender to answer to (files, Kafka, schedules, plug-ins): the event leaves
the job and its dead letter (`schema_violation`) takes its place, in the same transaction as the source's cursor.
To the source it is answered like an event that was refused for its identity: position 0.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

from tidemill.clock import Clock
from tidemill.errors import SchemaViolation
from tidemill.events.digest import encode_for_log
from tidemill.events.event import Event
from tidemill.ids import new_id
from tidemill.project.door import Door, tells_of_outside
from tidemill.storage.contract import Append, Appended, DeadLetter, EventLog

__all__ = ["checked"]

logger = logging.getLogger(__name__)

_REFUSED = Appended(0)


def checked(log: EventLog, door: Callable[[], Door], *, clock: Clock) -> EventLog:
    """`log`, with every event asked at the door as it is then."""
    return cast("EventLog", _CheckedLog(log, door, clock=clock))


class _CheckedLog:
    """An `EventLog` that is `log` in everything but `append`."""

    def __init__(self, log: EventLog, door: Callable[[], Door], *, clock: Clock) -> None:
        self._log = log
        self._door = door
        self._clock = clock

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    async def append(self, job: Append) -> list[Appended]:
        door = self._door()
        letters: dict[int, DeadLetter] = {}
        for index, event in enumerate(job.events):
            try:
                if tells_of_outside(event):
                    door.check(event)
            except SchemaViolation as violation:
                letters[index] = self._letter(job, event, violation)
        if not letters:
            return await self._log.append(job)
        fit = [event for index, event in enumerate(job.events) if index not in letters]
        kept = replace(job, events=fit, dead_letters=[*job.dead_letters, *letters.values()])
        answers = iter(await self._log.append(kept))
        for letter in letters.values():
            facts = {"source": letter.origin, "code": letter.code, "coordinates": letter.coordinates}
            logger.warning("source.refused", extra=facts)
        return [_REFUSED if index in letters else next(answers) for index in range(len(job.events))]

    def _letter(self, job: Append, event: Event, violation: SchemaViolation) -> DeadLetter:
        return DeadLetter(
            id=new_id(),
            at=self._clock.now_us(),
            stage=job.stage,
            code="schema_violation",
            detail=violation.detail,
            origin=job.origin,
            coordinates={
                "source": event.source,
                "id": event.id,
                "type": event.type,
                "schema": violation.schema,
                "problems": [{"attribute": place, "detail": detail} for place, detail in violation.places],
            },
            body=encode_for_log(event),
        )
