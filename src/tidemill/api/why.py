"""`/api/v1/events/{position}/why`: what each trigger of that time says of an event, and what became of it there.

Nothing is decided anew but whether rules match, and that by the definitions that were live when the event was routed.
Everything else is read from what is recorded. The router writes down late that nothing matched: of events beyond what
it has recorded, the live definitions are asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field

from tidemill.api.admission_steps import Step, steps_of
from tidemill.api.audit import recorded_at
from tidemill.api.company import company_of
from tidemill.api.explanations import ExplanationBody, explained
from tidemill.api.pages import MAX_POSITION
from tidemill.api.parts import GivenParts, Parts
from tidemill.clock import rfc3339
from tidemill.errors import NotFound
from tidemill.events.event import Event, LoggedEvent
from tidemill.patterns.rule import Rule
from tidemill.project.addressing import ADDRESSED, told_to
from tidemill.storage.contract import Disposition, DispositionKind, HeldEvent

__all__ = ["router"]

router = APIRouter(prefix="/api/v1/events", tags=["events"])


class StepBody(BaseModel):
    """One stage of the trigger's admission, and what it decided."""

    stage: str
    verdict: str = Field(description="passed, held, joined, stopped, not_reached or unknown.")
    told: str
    key: str | None = Field(description="The event's key there, as JSON.")
    until: str | None = Field(description="When what is held goes on by itself, RFC 3339.")


class RunWhy(BaseModel):
    """The run that came of it."""

    id: str
    dag: str | None = Field(description="Null where the run is not kept any more.")
    version: str | None
    state: str | None
    position: int | None = Field(description="The event that gave the run its identity.")
    parameters: Any


class TriggerWhy(BaseModel):
    """One trigger and one event."""

    trigger: str
    became: str = Field(
        description="A disposition kind, held, waiting (not routed yet), unmatched, not_told (a replay to others), "
        "absent (no such trigger then) or missing (an error: see `tidemill audit`)."
    )
    told: str = Field(description="The same as a sentence.")
    explanation: ExplanationBody | None = Field(description="Null where what was written then is not kept.")
    steps: list[StepBody]
    run: RunWhy | None
    now: ExplanationBody | None = Field(
        None, description="What the trigger says as it is now; only for a trigger that was asked for by name."
    )


class Why(BaseModel):
    """Why an event started what it started, and nothing else."""

    position: int
    source: str
    id: str
    type: str
    routed: bool = Field(
        description="Whether what became of it is recorded; of the latest events that nothing matched it is not yet."
    )
    version: str | None = Field(
        description="The definitions that were live for it; null when none are recorded."
    )
    kept: bool = Field(
        description="Whether those definitions are kept; else only what became of it is known."
    )
    told: str
    triggers: list[TriggerWhy] = Field(description="Those that matched first.")
    omitted: int = Field(description="Triggers that did not match and are left out; ask for one by name.")


@dataclass(frozen=True, slots=True)
class _Known:
    """A trigger as it was, or as it is."""

    written: Mapping[str, Any]
    rule: Rule | None


@dataclass(frozen=True, slots=True)
class _Recorded:
    """What is recorded of an event."""

    routed: bool
    dispositions: Mapping[str, Disposition]
    held: Mapping[str, HeldEvent]


@router.get("/{position}/why", summary="Explain what became of an event")
async def why(
    parts: GivenParts,
    position: Annotated[int, Path(ge=1, le=MAX_POSITION)],
    trigger: Annotated[str | None, Query(max_length=100, description="Only this trigger.")] = None,
    limit: Annotated[int, Query(ge=0, le=1000, description="Most triggers that did not match.")] = 20,
) -> Why:
    """For each trigger: whether it matched and by which values, each decision of its admission, and the run."""
    logged = await parts.store.log.get(position)
    if logged is None:
        raise NotFound("event", str(position))
    recorded = await _recorded(parts, position)
    then = await recorded_at(parts, position) if recorded.routed else None
    under = await parts.store.definitions.at(position) if recorded.routed else None
    live = _live(parts)
    if then is not None:
        known = {name: _Known(one.written, one.rule) for name, one in then.triggers.items()}
    else:
        known = {} if recorded.routed else live
    became = [*recorded.dispositions, *(name for name in recorded.held if name not in recorded.dispositions)]
    names = became if trigger is None else [trigger]
    omitted = 0
    if trigger is None:
        rest = [name for name in known if name not in names]
        matched = [name for name in rest if _matches(known[name], logged.event)]
        others = [name for name in rest if name not in {*matched}]
        names = [*names, *matched, *others[:limit]]
        omitted = max(len(others) - limit, 0)
    elif trigger not in {*known, *live, *became, *ADDRESSED.values()}:
        raise NotFound("trigger", trigger)
    told = [await _of_trigger(parts, logged, name, known.get(name), recorded) for name in names]
    if trigger is not None and (now := live.get(trigger)) is not None and now.rule is not None:
        told[0].now = explained(now.rule, logged.event)
    return Why(
        position=position,
        source=logged.event.source,
        id=logged.event.id,
        type=logged.event.type,
        routed=recorded.routed,
        version=(None if under is None else under.version) if recorded.routed else parts.project().version,
        kept=then is not None or not recorded.routed,
        told=_summary(recorded, kept=then is not None),
        triggers=told,
        omitted=omitted,
    )


async def _recorded(parts: Parts, position: int) -> _Recorded:
    store = parts.store
    # The order matters: what is released between the two questions has a disposition by the second one.
    held = {one.trigger: one for one in await store.admissions.held_at(position)}
    routed = position <= store.log.routed
    dispositions = {one.trigger: one for one in await store.runs.dispositions(position)}
    return _Recorded(routed or bool(dispositions or held), dispositions, held)


def _live(parts: Parts) -> dict[str, _Known]:
    project = parts.project()
    written = {entry["name"]: entry for kind, entry in project.written if kind == "triggers"}
    return {one.name: _Known(written.get(one.name, {}), one.rule) for one in project.triggers}


def _matches(known: _Known, event: Event) -> bool:
    return known.rule is not None and known.rule.matches(event)


async def _of_trigger(
    parts: Parts, logged: LoggedEvent, name: str, known: _Known | None, recorded: _Recorded
) -> TriggerWhy:
    event, disposition = logged.event, recorded.dispositions.get(name)
    held = recorded.held.get(name) if disposition is None else None
    explanation = explained(known.rule, event) if known is not None and known.rule is not None else None
    became = _became(name, event, known, recorded)
    steps: list[Step] = []
    if known is not None and (disposition is not None or held is not None or became == "waiting"):
        company = None if held is None else await company_of(parts, held)
        steps = steps_of(known.written, event, disposition=disposition, held=held, company=company)
    return TriggerWhy(
        trigger=name,
        became=became,
        told=await _sentence(parts, became, disposition, steps, explanation),
        explanation=explanation,
        steps=[
            StepBody(**{**asdict(step), "until": None if step.until is None else rfc3339(step.until)})
            for step in steps
        ],
        run=await _run(parts, disposition),
    )


def _became(name: str, event: Event, known: _Known | None, recorded: _Recorded) -> str:
    if name in recorded.dispositions:
        return recorded.dispositions[name].kind.value
    if name in recorded.held:
        return "held"
    is_addressed = ADDRESSED.get(event.type) == name
    if known is None and not is_addressed:
        return "absent"
    if not is_addressed and known is not None and not _matches(known, event):
        return "unmatched"
    told = told_to(event)
    if told and name not in told:
        return "not_told"
    return "missing" if recorded.routed else "waiting"


async def _sentence(
    parts: Parts,
    became: str,
    disposition: Disposition | None,
    steps: Sequence[Step],
    explanation: ExplanationBody | None,
) -> str:
    stop = next((step for step in steps if step.verdict in ("held", "joined", "stopped")), None)
    match became:
        case "run":
            return "it matched and started a run"
        case "dead_lettered":
            return await _letter(parts, disposition.detail if disposition else "")
        case "held":
            return "it matched and waits" + (f" in {stop.stage}: {stop.told}" if stop else "")
        case "waiting":
            return "it matches, and the event is not routed yet"
        case "unmatched":
            return "it does not match: " + "; ".join(explanation.failed[:3] if explanation else [])
        case "not_told":
            return "it matches, and the event is told again to other triggers only"
        case "absent":
            return "there was no such trigger, or what was written then is not kept"
        case "missing":
            return "it matches, and nothing is recorded of it: run `tidemill audit`"
    detail = disposition.detail if disposition else ""
    why = f"{stop.stage}: {stop.told}" if stop else detail
    return f"it matched and became {became}" + (f" ({why})" if why else "")


async def _letter(parts: Parts, letter_id: str) -> str:
    letter = await parts.store.dead_letters.get(letter_id) if letter_id else None
    if letter is None:
        return f"it matched and could not start a run: dead letter {letter_id}, which is not kept any more"
    return f"it matched and could not start a run: {letter.code}: {letter.detail} (dead letter {letter_id})"


async def _run(parts: Parts, disposition: Disposition | None) -> RunWhy | None:
    if disposition is None or disposition.run_id is None:
        return None
    run = await parts.store.runs.get(disposition.run_id)
    if run is None:
        return RunWhy(
            id=disposition.run_id, dag=None, version=None, state=None, position=None, parameters=None
        )
    return RunWhy(
        id=run.run_id,
        dag=run.dag,
        version=run.version,
        state=run.state,
        position=run.position,
        parameters=orjson.loads(run.parameters),
    )


def _summary(recorded: _Recorded, *, kept: bool) -> str:
    if not recorded.routed:
        return "nothing is recorded of the event yet: this is what the live definitions say of it"
    if not kept:
        return "the definitions of its time are not kept: only what became of the event is known"
    runs = sum(one.kind is DispositionKind.RUN for one in recorded.dispositions.values())
    others = len(recorded.dispositions) - runs
    told = f"{runs} runs, {others} other dispositions, {len(recorded.held)} held"
    return told if recorded.dispositions or recorded.held else "no trigger took the event"
