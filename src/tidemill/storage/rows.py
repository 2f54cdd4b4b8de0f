"""Rows of the database to values and back."""

from __future__ import annotations

from typing import Any

import orjson

from tidemill.events.digest import decode_from_log
from tidemill.events.event import LoggedEvent
from tidemill.storage.contract import DeadLetter, RunSummary

__all__ = ["dead_letter_from_row", "dead_letter_row", "logged_from_row", "run_from_row"]


def logged_from_row(row: tuple[Any, ...]) -> LoggedEvent:
    """An event as it was logged."""
    position, received_at, body = row
    return LoggedEvent(position, received_at, decode_from_log(body))


def dead_letter_row(letter: DeadLetter) -> tuple[Any, ...]:
    """A dead letter as columns."""
    return (
        letter.id,
        letter.at,
        letter.stage,
        letter.code,
        letter.detail,
        letter.origin,
        orjson.dumps(letter.coordinates).decode(),
        letter.body,
        letter.position,
    )


def dead_letter_from_row(row: tuple[Any, ...]) -> DeadLetter:
    """Columns as a dead letter."""
    return DeadLetter(
        id=row[0],
        at=row[1],
        stage=row[2],
        code=row[3],
        detail=row[4],
        origin=row[5],
        coordinates=orjson.loads(row[6]),
        body=row[7],
        position=row[8],
        state=row[9],
    )


def run_from_row(row: tuple[Any, ...]) -> RunSummary:
    """Columns as a run's summary."""
    return RunSummary(
        run_id=row[0],
        dag=row[1],
        version=row[2],
        state=row[3],
        trigger=row[4],
        position=row[5],
        event_source=row[6],
        event_id=row[7],
        parameters=row[8],
        queued_at=row[9],
        started_at=row[10],
        ended_at=row[11],
        correlation_id=row[12],
        hop_count=row[13],
        traceparent=row[14],
        shard=row[15],
    )
