"""`/api/v1/triggers`: which events start what, how that is going, and pausing; `/api/v1/trials`: trying an event."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from tidemill.api.bodies import read_body, schema_of
from tidemill.api.pages import MAX_POSITION
from tidemill.api.parts import GivenParts, Parts, TriggerPauses
from tidemill.api.problems import Invalid
from tidemill.api.trials import Trial, try_trigger
from tidemill.errors import EventRejected, NotFound, StateConflict
from tidemill.events import json_format
from tidemill.events.event import Event
from tidemill.project.addressing import ADDRESSED
from tidemill.project.model import Trigger

__all__ = ["router"]

router = APIRouter(prefix="/api/v1", tags=["triggers"])

TriggerName = Annotated[str, Path(max_length=100, description="Name of the trigger.")]
Events = Annotated[int, Query(ge=0, le=10_000, description="How many of the latest events are counted.")]

#: What an event that is tried does not say for itself.
_DEFAULTS: dict[str, Any] = {"specversion": "1.0", "id": "tried", "source": "/tried"}


class TriggerBody(BaseModel):
    """A trigger and how it is going."""

    name: str
    state: str = Field(description="active or paused.")
    paused_by: str | None = Field(description="file, or request (see `pause`).")
    paused_at: str | None = Field(description="When somebody paused it, RFC 3339.")
    dag: str
    file: str
    line: int
    counts: dict[str, int] = Field(description="What became of the latest events, by disposition kind.")
    held: dict[str, int] = Field(description="Events that wait in its admission, by stage.")


class TriggerList(BaseModel):
    """Every trigger, by name."""

    items: list[TriggerBody]
    first: int = Field(description="Position of the first event that is counted.")
    last: int = Field(description="Position of the last one.")


class TriggerView(TriggerBody):
    """A trigger as it was written."""

    version: str = Field(description="The version of the project that is live.")
    since: int | None = Field(description="Events after this position are routed under it; null: none yet.")
    written: dict[str, Any]


class TrialAsked(BaseModel):
    """An event to try: exactly one of event and position."""

    model_config = ConfigDict(extra="forbid", strict=True)

    event: dict[str, Any] | None = Field(
        None, description="A CloudEvent in JSON format; specversion, id and source may be left out."
    )
    position: int | None = Field(None, ge=1, le=MAX_POSITION, description="Place of a recorded event.")
    trigger: str | None = Field(None, description="Only this trigger; else all that match.")


class TrialAnswer(BaseModel):
    """What the live triggers would do with the event."""

    triggers: list[Trial] = Field(description="Those that match, or the one that was asked for.")
    unmatched: int = Field(description="Triggers that do not match and are left out.")
    schema_violation: str | None = Field(description="Why the door would refuse the event, or warn of it.")
    addressed: str | None = Field(description="The DAG that the event names itself, past all triggers.")


@router.get("/triggers", summary="List triggers")
async def list_triggers(parts: GivenParts, events: Events = 1000) -> TriggerList:
    """Every trigger, with what became of the latest events."""
    last = parts.store.log.routed
    first = max(last - events + 1, 1)
    counts = await _counts(parts, first, last if events else 0)
    held = await _held(parts)
    triggers = sorted(parts.project().triggers, key=lambda one: one.name)
    return TriggerList(
        items=[TriggerBody(**_members(parts, one, counts, held)) for one in triggers], first=first, last=last
    )


@router.get("/triggers/{name}", summary="Show a trigger")
async def show_trigger(parts: GivenParts, name: TriggerName, events: Events = 1000) -> TriggerView:
    """A trigger as it was written, and since when it is so."""
    return await _view(parts, _find(parts, name), events)


@router.post("/trials", summary="Try an event", openapi_extra={"requestBody": schema_of(TrialAsked)})
async def try_event(parts: GivenParts, request: Request) -> TrialAnswer:
    """Say which of the live triggers match an event, why, and what they would start; nothing is started or stored."""
    asked = await read_body(request, TrialAsked)
    event = await _event(parts, asked)
    project = parts.project()
    written = {entry["name"]: entry for kind, entry in project.written if kind == "triggers"}
    if asked.trigger is not None:
        chosen = [_find(parts, asked.trigger)]
    else:
        chosen = [one for one in project.triggers if one.rule.matches(event)]
    trials = [
        try_trigger(
            one,
            project.dags[one.dag],
            event,
            written=written.get(one.name, {}),
            paused=one.paused or _paused_at(parts, one.name) is not None,
        )
        for one in chosen
    ]
    violation = project.door.violation(event)
    return TrialAnswer(
        triggers=trials,
        unmatched=len(project.triggers) - len(chosen),
        schema_violation=None if violation is None else str(violation),
        addressed=event.subject if event.type in ADDRESSED else None,
    )


@router.post("/triggers/{name}/pause", summary="Pause a trigger")
async def pause_trigger(parts: GivenParts, name: TriggerName) -> TriggerView:
    """Start nothing by a trigger until it is resumed, on every node and over restarts; durable when answered.

    It takes effect between two events, within about a second where another node routes. What matches meanwhile is
    recorded as `paused`, or waits where the trigger's admission says `paused: buffer`.
    """
    trigger = _find(parts, name)
    await _pauses(parts).pause(name)
    return await _view(parts, trigger, 0)


@router.post("/triggers/{name}/resume", summary="Resume a trigger")
async def resume_trigger(parts: GivenParts, name: TriggerName) -> TriggerView:
    """Let a trigger that was paused go on, with what waited meanwhile; durable when answered."""
    trigger = _find(parts, name)
    await _pauses(parts).resume(name)
    if trigger.paused:
        raise StateConflict(f"the trigger is paused in its file: edit {trigger.file}:{trigger.line}")
    return await _view(parts, trigger, 0)


def _find(parts: Parts, name: str) -> Trigger:
    found = next((one for one in parts.project().triggers if one.name == name), None)
    if found is None:
        raise NotFound("trigger", name)
    return found


async def _event(parts: Parts, asked: TrialAsked) -> Event:
    if (asked.event is None) is (asked.position is None):
        raise Invalid("invalid_request", "give exactly one of event and position", [])
    if asked.position is not None:
        logged = await parts.store.log.get(asked.position)
        if logged is None:
            raise NotFound("event", str(asked.position))
        return logged.event
    try:
        return json_format.from_json({**_DEFAULTS, **(asked.event or {})})
    except EventRejected as error:
        where = {"location": f"event/{error.attribute or ''}".rstrip("/"), "detail": error.detail}
        raise Invalid(error.code, "the event is no CloudEvent", [where]) from error


def _pauses(parts: Parts) -> TriggerPauses:
    if parts.trigger_pauses is None:
        raise StateConflict("triggers cannot be paused here")
    return parts.trigger_pauses


def _paused_at(parts: Parts, name: str) -> str | None:
    return None if parts.trigger_pauses is None else parts.trigger_pauses.paused_at(name)


async def _view(parts: Parts, trigger: Trigger, events: int) -> TriggerView:
    last = parts.store.log.routed
    counts = await _counts(parts, max(last - events + 1, 1), last if events else 0)
    project = parts.project()
    under = [one for one in await parts.store.definitions.latest(limit=1) if one.version == project.version]
    written = (entry for kind, entry in project.written if kind == "triggers")
    return TriggerView(
        **_members(parts, trigger, counts, await _held(parts)),
        version=project.version,
        since=under[0].position if under else None,
        written=next((entry for entry in written if entry["name"] == trigger.name), {}),
    )


def _members(
    parts: Parts, trigger: Trigger, counts: dict[str, Counter[str]], held: dict[str, Counter[str]]
) -> dict[str, Any]:
    at = _paused_at(parts, trigger.name)
    paused_by = "file" if trigger.paused else "request" if at is not None else None
    return {
        "name": trigger.name,
        "state": "active" if paused_by is None else "paused",
        "paused_by": paused_by,
        "paused_at": at,
        "dag": trigger.dag,
        "file": trigger.file,
        "line": trigger.line,
        "counts": dict(sorted(counts.get(trigger.name, {}).items())),
        "held": dict(sorted(held.get(trigger.name, {}).items())),
    }


async def _counts(parts: Parts, first: int, last: int) -> dict[str, Counter[str]]:
    found: dict[str, Counter[str]] = {}
    if first <= last:
        for one in await parts.store.keeping.became(first, last):
            disposition = one.disposition
            found.setdefault(disposition.trigger, Counter())[disposition.kind.value] += 1
    return found


async def _held(parts: Parts) -> dict[str, Counter[str]]:
    found: dict[str, Counter[str]] = {}
    for (trigger, stage), count in (await parts.store.admissions.counts()).items():
        found.setdefault(trigger, Counter())[stage] += count
    return found
