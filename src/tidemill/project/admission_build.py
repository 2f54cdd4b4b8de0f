"""Builds a trigger's admission and checks what its structure alone does not show."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

from tidemill.project import admission, mapping
from tidemill.project.admission import Admission, JoinMode, JoinPart, Stage, WhenFull
from tidemill.project.admission_form import (
    AdmissionForm,
    BatchForm,
    ConcurrencyForm,
    DebounceForm,
    IdempotencyForm,
    JoinForm,
    RateLimitForm,
    ThrottleForm,
)
from tidemill.project.entry import Entry, pointer_to
from tidemill.project.mapping import Template
from tidemill.project.reducers import ReducerProblem, find_reducer
from tidemill.project.rules import compile_rule

__all__ = ["build_admission"]

_AT = "admission"
#: Paths into the list of a run's events.
_EVENTS = re.compile(r"""\$(\.events|\[["']events["']\])(?![\w-])""")
#: Stages with a key of their own.
_KEYED = tuple(stage for stage in Stage if stage is not Stage.PAUSE)


def build_admission(entry: Entry, form: AdmissionForm | None, root: Path | None) -> Admission | None:
    """The admission of the entry's trigger; problems are noted, and then what is returned is not to be used.

    `form` is None where the entry has none or does not fit its structure.
    """
    if form is None:
        return None
    default = _template(entry, "key")
    keys: dict[Stage, Template] = {}
    for stage in _KEYED:
        if getattr(form, stage.value) is not None:
            key = _template(entry, stage.value, "key") or default
            if key is not None:
                keys[stage] = key
    _check(entry, form, keys)
    shown, reduce = _reducer(entry, form, root)
    cancel_key = (_template(entry, "cancel_on", "key") or default) if form.cancel_on is not None else None
    return Admission(
        keys=keys,
        paused=form.paused,
        idempotency=_idempotency(form.idempotency) if form.idempotency else None,
        rate_limit=_rate_limit(form.rate_limit) if form.rate_limit else None,
        join=_join(entry, form.join) if form.join else None,
        debounce=_debounce(form.debounce) if form.debounce else None,
        batch=_batch(form.batch) if form.batch else None,
        throttle=_throttle(form.throttle) if form.throttle else None,
        concurrency=_concurrency(form.concurrency) if form.concurrency else None,
        priority=_template(entry, "priority"),
        cancel_on=_cancel_on(entry, cancel_key) if form.cancel_on is not None else None,
        cancel_key=cancel_key,
        shown=shown,
        reduce=reduce,
    )


def _idempotency(form: IdempotencyForm) -> admission.Idempotency:
    return admission.Idempotency(ttl=_us(form.ttl), while_running=form.while_running)


def _rate_limit(form: RateLimitForm) -> admission.RateLimit:
    return admission.RateLimit(limit=form.limit, period=_microseconds(form.period))


def _debounce(form: DebounceForm) -> admission.Debounce:
    return admission.Debounce(period=_microseconds(form.period), max_wait=_us(form.max_wait))


def _batch(form: BatchForm) -> admission.Batch:
    return admission.Batch(period=_microseconds(form.period), size=form.size, bytes=form.bytes)


def _throttle(form: ThrottleForm) -> admission.Throttle:
    return admission.Throttle(limit=form.limit, period=_microseconds(form.period))


def _concurrency(form: ConcurrencyForm) -> admission.Concurrency:
    return admission.Concurrency(limit=form.limit, when_full=WhenFull(form.when_full))


def _check(entry: Entry, form: AdmissionForm, keys: dict[Stage, Template]) -> None:
    if form.idempotency is not None:
        if Stage.IDEMPOTENCY not in keys:
            _note(entry, "idempotency has no key; say which value of an event it goes by", "idempotency")
        if form.idempotency.ttl is None and not form.idempotency.while_running:
            _note(entry, "one of ttl and while_running is missing", "idempotency")
    debounce = form.debounce
    if debounce is not None and debounce.max_wait is not None and debounce.max_wait < debounce.period:
        _note(entry, "'max_wait' must be at least as long as 'period'", "debounce", "max_wait")
    if form.priority is not None and form.throttle is None and form.concurrency is None:
        _note(entry, "priority orders what waits in throttle or concurrency; there is neither", "priority")
    priority = form.priority
    if isinstance(priority, bool | float | list) or (isinstance(priority, str) and "$" not in priority):
        _note(entry, "'priority' must be a whole number or a path to one", "priority")
    collects = form.join or form.debounce or form.batch
    if not collects and (form.concurrency is None or form.concurrency.when_full != "coalesce"):
        if form.reduce != "last":
            _note(entry, "every run has one event: nothing here puts several together", "reduce")
        for name, template in _parameters(entry):
            if any(_EVENTS.match(path) for path in _paths(template)):
                text = f"{name!r} reads $.events, and every run has one event; read $ itself"
                entry.problem(pointer_to("parameters", name), text)


def _parameters(entry: Entry) -> list[tuple[str, Any]]:
    written = entry.get("parameters")
    return list(written.items()) if isinstance(written, dict) else []


def _paths(written: Any) -> tuple[str, ...]:
    try:
        return mapping.compile_template(written).paths
    except mapping.MappingProblem:
        return ()


def _join(entry: Entry, form: JoinForm) -> admission.Join:
    parts = [part for place in range(len(form.of)) if (part := _part(entry, place)) is not None]
    seen: set[str] = set()
    for place, part in enumerate(parts):
        if part.name in seen:
            _note(entry, f"{part.name!r} is there twice", "join", "of", place, "name")
        seen.add(part.name)
    count = len(form.of)
    if isinstance(form.need, int):
        mode, at_least = JoinMode.ALL, form.need
        if form.need > count:
            _note(entry, f"'need' is {form.need}, and there are {count} kinds", "join", "need")
    else:
        mode = JoinMode(form.need)
        at_least = 1 if mode is JoinMode.ANY else count
    if mode is JoinMode.ABSENCE and count < 2:
        _note(entry, "absence needs a kind that starts and one that must not come", "join", "of")
    if form.lookback is not None and mode is not JoinMode.ABSENCE:
        _note(entry, "'lookback' is for need: absence", "join", "lookback")
    if form.lateness is not None and mode is JoinMode.ABSENCE:
        _note(entry, "'lateness' is not for need: absence", "join", "lateness")
    return admission.Join(
        parts=parts,
        mode=mode,
        at_least=at_least,
        window=_microseconds(form.window),
        lateness=_us(form.lateness) or 0,
        lookback=_us(form.lookback) or 0,
        expiry=form.expiry,
    )


def _part(entry: Entry, place: int) -> JoinPart | None:
    inner = _inner(entry, "join", "of", place)
    written = inner.written
    name = written.get("name") if isinstance(written, dict) else None
    if not isinstance(name, str) or not name:
        inner.problem("", "'name' is missing")
        return None
    rule = compile_rule(inner)
    return None if rule is None else JoinPart(name, rule)


def _cancel_on(entry: Entry, ours: Template | None) -> admission.CancelOn | None:
    inner = _inner(entry, "cancel_on")
    rule = compile_rule(inner)
    theirs = _template(entry, "cancel_on", "their_key")
    if theirs is not None and ours is None:
        _note(entry, "'their_key' needs a 'key' that it is compared with", "cancel_on", "their_key")
    return None if rule is None else admission.CancelOn(rule=rule, key=theirs or ours)


def _reducer(entry: Entry, form: AdmissionForm, root: Path | None) -> tuple[Any, admission.Reduce | None]:
    try:
        return find_reducer(form.reduce, root)
    except ReducerProblem as problem:
        _note(entry, str(problem), "reduce")
        return "last", None


def _inner(entry: Entry, *keys: str | int) -> Entry:
    """A part of the entry as one that has a rule of its own."""
    value: Any = entry.get(_AT)
    for key in keys:
        value = value[key]
    return Entry(entry.file, entry.text, entry.pointer + pointer_to(_AT, *keys), value, entry.problems)


def _template(entry: Entry, *keys: str) -> Template | None:
    written = entry.get(_AT, *keys)
    if written is None:
        return None
    try:
        return mapping.compile_template(written)
    except mapping.MappingProblem as error:
        for pointer, message in error.problems:
            entry.problem(pointer_to(_AT, *keys) + pointer, message)
        return None


def _note(entry: Entry, message: str, *keys: str | int) -> None:
    entry.problem(pointer_to(_AT, *keys), message)


def _us(duration: timedelta | None) -> int | None:
    return None if duration is None else _microseconds(duration)


def _microseconds(duration: timedelta) -> int:
    return duration // timedelta(microseconds=1)
