"""A run as the API shows it: the same shape wherever a run appears."""

from __future__ import annotations

from typing import Any

import orjson
from pydantic import BaseModel, Field

from tidemill.clock import rfc3339
from tidemill.runs.state import RunPhase
from tidemill.storage.contract import RunSummary

__all__ = ["EventReference", "RunBody", "body_of", "shown_time"]


class EventReference(BaseModel):
    """The event that started a run."""

    source: str
    id: str
    position: int


class RunBody(BaseModel):
    """A run."""

    id: str
    dag: str
    version: str = Field(description="Version of the DAG that the run began with and ends on.")
    state: RunPhase
    trigger: str = Field(description="Name of the trigger; `manual` when somebody asked for the run.")
    event: EventReference
    parameters: Any = Field(description="Parameters as the DAG takes them.")
    queued_at: str | None = Field(description="RFC 3339.")
    started_at: str | None
    ended_at: str | None


def body_of(run: RunSummary) -> RunBody:
    """A run as the API shows it."""
    return RunBody(
        id=run.run_id,
        dag=run.dag,
        version=run.version,
        state=RunPhase(run.state),
        trigger=run.trigger,
        event=EventReference(source=run.event_source, id=run.event_id, position=run.position),
        parameters=orjson.loads(run.parameters) if run.parameters else {},
        queued_at=shown_time(run.queued_at),
        started_at=shown_time(run.started_at),
        ended_at=shown_time(run.ended_at),
    )


def shown_time(at_us: int | None) -> str | None:
    """`at_us` as RFC 3339, None where it is."""
    return None if at_us is None else rfc3339(at_us)
