"""What each stage of a trigger's admission decided of one event, told from what is recorded of it. Pure.

Nothing is played again: the disposition names the stage at which the event stopped, a held row the one in which it
waits; the stages before it let it go on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

import orjson
from pydantic import ValidationError

from tidemill.api.admission_words import rule_in_words, span
from tidemill.events.event import Event
from tidemill.project.admission import Stage
from tidemill.project.admission_form import AdmissionForm
from tidemill.project.lookups import event_lookup
from tidemill.project.mapping import MappingFailed, MappingProblem, compile_template
from tidemill.storage.contract import Disposition, DispositionKind, HeldEvent, Remembered

__all__ = ["Company", "Step", "Verdict", "steps_of"]

Verdict = Literal["passed", "held", "joined", "stopped", "not_reached", "unknown"]

#: The stage at which an event of a kind stopped.
_STOPPED_AT = {
    DispositionKind.PAUSED: Stage.PAUSE.value,
    DispositionKind.LOOP_AVOIDED: "loops",
    DispositionKind.DUPLICATE_OF: Stage.IDEMPOTENCY.value,
    DispositionKind.NOT_JOINED: Stage.JOIN.value,
    DispositionKind.EXPIRED: Stage.JOIN.value,
}
#: The stage at which an event went into the run of another one.
_JOINED_AT = {
    DispositionKind.JOINED_INTO: Stage.JOIN.value,
    DispositionKind.DEBOUNCED_INTO: Stage.DEBOUNCE.value,
    DispositionKind.BATCHED_INTO: Stage.BATCH.value,
    DispositionKind.COALESCED_INTO: Stage.CONCURRENCY.value,
}
#: What a cancelled event's detail begins with, and the stage in which that happens.
_CANCELLED_AT = {"newer events": Stage.CONCURRENCY.value, "position": Stage.JOIN.value}


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One stage, and what it decided."""

    stage: str
    verdict: Verdict
    #: A sentence.
    told: str
    #: JSON text of the event's key there; None without one.
    key: str | None = None
    #: When what is held goes on by itself, microseconds since the epoch; None when no clock decides that.
    until: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Company:
    """What else counts for a held event."""

    #: Everything that the stage holds under the same key, the event itself included.
    held: Sequence[HeldEvent] = ()
    #: What the stage remembers of the key.
    remembered: Remembered | None = None
    #: Runs that hold a slot of the key, as far as they were looked for.
    running: Sequence[str] = ()


def steps_of(
    written: Mapping[str, Any],
    event: Event,
    *,
    disposition: Disposition | None,
    held: HeldEvent | None,
    company: Company | None = None,
) -> list[Step]:
    """The stages that the trigger asks for, in their order; empty when it asks for none."""
    form = _form(written)
    asked = _asked(written, form, disposition)
    stop, verdict = _stop(disposition, held)
    if held is None and disposition is None:
        return [
            Step(stage=stage, verdict="unknown", told=rule_in_words(stage, written, form)) for stage in asked
        ]
    found: list[Step] = []
    passed = stop != "?"
    for stage in asked:
        key = _key(form, stage, event)
        if stage == stop:
            found.append(_stopping(stage, verdict, form, key, written, disposition, held, company))
            passed = False
        elif passed:
            found.append(
                Step(stage=stage, verdict="passed", told=rule_in_words(stage, written, form), key=key)
            )
        else:
            after: Verdict = "unknown" if stop == "?" else "not_reached"
            found.append(Step(stage=stage, verdict=after, told=rule_in_words(stage, written, form), key=key))
    return found


def _form(written: Mapping[str, Any]) -> AdmissionForm | None:
    try:
        return AdmissionForm.model_validate(written["admission"]) if written.get("admission") else None
    except ValidationError:
        return None  # written for another Tidemill


def _asked(
    written: Mapping[str, Any], form: AdmissionForm | None, disposition: Disposition | None
) -> list[str]:
    stages = ["loops"] if written.get("loops", "ignore") != "ignore" else []
    is_paused = written.get("paused") or (disposition and disposition.kind is DispositionKind.PAUSED)
    for stage in Stage:
        if stage is Stage.PAUSE:
            if is_paused or (form is not None and form.paused == "buffer"):
                stages.append(stage.value)
        elif form is not None and getattr(form, stage.value) is not None:
            stages.append(stage.value)
    if form is not None and form.cancel_on is not None:
        stages.append("cancel_on")
    return stages


def _stop(disposition: Disposition | None, held: HeldEvent | None) -> tuple[str, Verdict]:
    """Where the event stopped, and how; empty where it went through, "?" where that is not known."""
    if held is not None:
        return held.stage, "held"
    if disposition is None:
        return "?", "unknown"
    kind, detail = disposition.kind, disposition.detail
    match kind:
        case DispositionKind.RUN:
            return "", "passed"
        case DispositionKind.DROPPED_BY_LIMIT:
            return detail, "stopped"
        case DispositionKind.CANCELLED:
            found = [stage for start, stage in _CANCELLED_AT.items() if detail.startswith(start)]
            return (*found, "cancel_on" if detail.startswith("by ") else "?")[0], "stopped"
    if kind in _JOINED_AT:
        return _JOINED_AT[kind], "joined"
    return _STOPPED_AT.get(kind, "?"), "stopped"


def _stopping(
    stage: str,
    verdict: Verdict,
    form: AdmissionForm | None,
    key: str | None,
    written: Mapping[str, Any],
    disposition: Disposition | None,
    held: HeldEvent | None,
    company: Company | None,
) -> Step:
    if held is not None:
        told, until = _waiting(form, held, company or Company())
        return Step(stage=stage, verdict="held", told=told, key=held.key or key, until=until)
    assert disposition is not None  # noqa: S101 - one of the two is there
    rule, detail = rule_in_words(stage, written, form), disposition.detail
    if verdict == "joined":
        return Step(stage=stage, verdict=verdict, told=f"went into run {disposition.run_id}: {rule}", key=key)
    told = f"{rule}: {detail}" if detail and detail != stage else rule
    if disposition.kind is DispositionKind.PAUSED and not written.get("paused"):
        told = "somebody had paused it (tidemill triggers pause)"
    return Step(stage=stage, verdict=verdict, told=told, key=key)


def _waiting(form: AdmissionForm | None, held: HeldEvent, company: Company) -> tuple[str, int | None]:
    """What a held event waits for, and until when."""
    body = orjson.loads(held.body)
    since, together = body["since"], [orjson.loads(one.body) for one in company.held] or [body]
    newest, oldest = max(one["since"] for one in together), min(one["since"] for one in together)
    count = len(together)
    match held.stage:
        case "pause":
            return "waits until the trigger is resumed", None
        case "join" if form is not None and form.join is not None:
            is_other = form.join.need == "absence" and body["part"] > 0
            window = form.join.lookback if is_other and form.join.lookback else form.join.window
            parts = sorted(
                {form.join.of[one["part"]].get("name", "?") for one in together if one["part"] >= 0}
            )
            return f"waits for the others; there: {', '.join(map(str, parts))}", since + _us(window)
        case "debounce" if form is not None and form.debounce is not None:
            due = newest + _us(form.debounce.period)
            if form.debounce.max_wait is not None:
                due = min(due, oldest + _us(form.debounce.max_wait))
            return f"waits until events cease; {count} wait together", due
        case "batch" if form is not None and form.batch is not None:
            told = f"waits for more events: {count} of {form.batch.size}"
            return told, oldest + _us(form.batch.period)
        case "throttle" if form is not None and form.throttle is not None:
            times = [] if company.remembered is None else orjson.loads(company.remembered.body)
            ahead = _ahead(held, company.held)
            limit, due = form.throttle.limit, None
            if len(times) >= limit and ahead < limit:
                due = times[-limit:][ahead] + _us(form.throttle.period)
            period = span(form.throttle.period)
            return f"waits for its turn, {ahead} before it: at most {limit} starts in {period}", due
        case "concurrency" if form is not None and form.concurrency is not None:
            runs = f" (now {', '.join(company.running)})" if company.running else ""
            ahead = _ahead(held, company.held)
            return f"waits for one of {form.concurrency.limit} slots{runs}, {ahead} before it", None
    return "waits", None


def _ahead(held: HeldEvent, together: Iterable[HeldEvent]) -> int:
    """How many others have their turn before it."""
    turns = {one.position: (-orjson.loads(one.body)["priority"], one.position) for one in (*together, held)}
    return sum(turn < turns[held.position] for turn in turns.values())


def _key(form: AdmissionForm | None, stage: str, event: Event) -> str | None:
    part = getattr(form, stage, None)
    template = getattr(part, "key", None)
    if form is not None and template is None and stage != Stage.PAUSE.value:
        template = form.key
    if template is None:
        return None
    try:
        value = compile_template(template).evaluate(event_lookup(event))
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    except (MappingFailed, MappingProblem, TypeError):
        return None


def _us(duration: timedelta) -> int:
    return duration // timedelta(microseconds=1)
