"""What a stage of admission goes by, in words. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from tidemill.project.admission_form import AdmissionForm

__all__ = ["rule_in_words", "span"]


def rule_in_words(stage: str, written: Mapping[str, Any], form: AdmissionForm | None) -> str:
    """What a stage goes by, in words."""
    if stage == "loops":
        allowed = written.get("loops")
        return (
            "starts no run that one of its own has led to"
            if allowed in ("avoid", 1)
            else (f"at most {allowed} runs in one chain")
        )
    if stage == "pause":
        return "paused in its file" if written.get("paused") else "not paused"
    part = None if form is None else getattr(form, stage)
    match stage:
        case "idempotency" if part is not None:
            ways = [f"within {span(part.ttl)}"] if part.ttl is not None else []
            ways += ["while an earlier one runs"] if part.while_running else []
            return f"no second event with its key {' or '.join(ways)}"
        case "rate_limit" if part is not None:
            return f"at most {part.limit} events in {span(part.period)}"
        case "join" if part is not None:
            return f"joins {part.need} of {len(part.of)} kinds within {span(part.window)}"
        case "debounce" if part is not None:
            return f"one run when events have ceased for {span(part.period)}"
        case "batch" if part is not None:
            return f"one run for up to {part.size} events or after {span(part.period)}"
        case "throttle" if part is not None:
            return f"at most {part.limit} starts in {span(part.period)}"
        case "concurrency" if part is not None:
            return f"at most {part.limit} runs at once, else {part.when_full.replace('_', ' ')}"
        case "cancel_on":
            return "no event has cancelled it"
    return stage


def span(duration: timedelta) -> str:
    """A duration as people write it."""
    us = duration // timedelta(microseconds=1)
    for unit, size in (("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000)):
        if us % size == 0:
            return f"{us // size}{unit}"
    return f"{us / 1_000:g}ms"
