"""The checker's look at admission: what waited has come to one end, runs hold the events that point to them, and
every limit was kept. Like the rest of the checker it knows the evidence only.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tests.acceptance.evidence import Became, Evidence, Logged, Run
from tests.acceptance.violations import Found, Violation

__all__ = ["check_admission"]


def check_admission(evidence: Evidence) -> Found:
    """Everything that is wrong with triggers that have an `admission` in `expected.json`."""
    log = {event.position: event for event in evidence.events}
    for name, trigger in evidence.expected["triggers"].items():
        if (admission := trigger.get("admission")) is None:
            continue
        became = [one for one in evidence.dispositions if one.trigger == name]
        runs = [run for run in evidence.runs if run.trigger == name]
        waiting = [log[position] for position, held_by, _ in evidence.held if held_by == name]
        yield from _check_held(name, admission, waiting)
        yield from _check_ends(name, admission, became, {run.run_id: run for run in runs})
        if "joins" in admission:
            yield from _check_payloads(admission, became, runs, log)
        if "open_runs" in admission:
            yield from _check_slots(name, admission, runs, log)
        if "once" in admission:
            yield from _check_model(name, admission, became, waiting, log)


def _check_held(name: str, admission: Mapping[str, Any], waiting: Sequence[Logged]) -> Found:
    """Only a join waits for ever: for the events of a key whose other part has not come."""
    if waiting and not admission.get("holds"):
        yield Violation("held_left", f"{name} holds {[event.position for event in waiting]}")
    if (part := admission.get("parts")) is None:
        return
    parts = defaultdict(set)
    for event in waiting:
        data = event.body["data"]
        parts[data[admission["key"]]].add(data[part])
    for key, found in parts.items():
        if len(found) > 1:
            yield Violation("join_left", f"{name} holds all parts of {key}")


def _check_ends(
    name: str, admission: Mapping[str, Any], became: Sequence[Became], runs: Mapping[str, Run]
) -> Found:
    for one in became:
        if one.kind in admission.get("joins", ()):
            run = runs.get(one.run_id or "")
            if run is None or run.position <= one.position:
                yield Violation("joined_to_nothing", f"{(one.position, name)} is {one.kind} {one.run_id}")
        elif one.kind in admission.get("ends", ()):
            if one.run_id is not None:
                yield Violation("disposition_unexpected", f"{(one.position, name)} has run {one.run_id}")
        elif one.kind != "run":
            yield Violation("disposition_unexpected", f"{(one.position, name)} is {one.kind}")


def _check_payloads(
    admission: Mapping[str, Any], became: Sequence[Became], runs: Sequence[Run], log: Mapping[int, Logged]
) -> Found:
    """A run's payload is every event that points to it, each once, in the order of the log."""
    pointing = defaultdict(list)
    for one in sorted(became):
        pointing[one.run_id].append(log[one.position])
    for run in runs:
        events = pointing[run.run_id]
        payload = [(event["source"], event["id"], event["data"]) for event in run.parameters["events"]]
        expected = [(*event.identity, event.body["data"]) for event in events]
        if payload != expected:
            yield Violation("payload_differs", f"{run.run_id}: {payload} was given, {expected} points to it")
        if (part := admission.get("parts")) is not None:
            keys = {event.body["data"][admission["key"]] for event in events}
            if len(keys) != 1 or {event.body["data"][part] for event in events} != {0, 1}:
                yield Violation("join_incomplete", f"{run.run_id} joins {expected}")


def _check_slots(
    name: str, admission: Mapping[str, Any], runs: Sequence[Run], log: Mapping[int, Logged]
) -> Found:
    """At no time are more runs of a key open than there are slots."""
    changes = defaultdict(list)
    for run in runs:
        key = log[run.position].body["data"][admission["key"]]
        changes[key].append((run.queued_at, 1))
        if run.ended_at is not None:
            changes[key].append((run.ended_at, -1))
    for key, steps in changes.items():
        most = max(itertools.accumulate(step for _, step in sorted(steps)))
        if most > admission["open_runs"]:
            yield Violation("slots_exceeded", f"{name} has {most} open runs of {key} at once")


def _check_model(
    name: str,
    admission: Mapping[str, Any],
    became: Sequence[Became],
    waiting: Sequence[Logged],
    log: Mapping[int, Logged],
) -> Found:
    """Each event ended as the model says, which sees nothing but the log; what still waits is on its way to a run."""
    ends = {event.position: ("run", "") for event in waiting}
    ends |= {one.position: (one.kind, one.detail) for one in became}
    places = sorted(ends)
    for position, should_be in zip(places, _model(admission, [log[place] for place in places]), strict=True):
        if (is_so := ends[position]) != should_be:
            yield Violation("admission_differs", f"{(position, name)} is {is_so}, should be {should_be}")


def _model(admission: Mapping[str, Any], events: Sequence[Logged]) -> Iterator[tuple[str, str]]:
    """Kind and detail of each event's end: a key is taken once in a while, then so many of all go on."""
    once, rate = admission["once"], admission["rate"]
    taken: dict[Any, tuple[int, int]] = {}
    gone_on: list[int] = []
    for event in events:
        at, key = event.received_at, event.body["data"][once["key"]]
        first, until = taken.get(key, (0, 0))
        if until > at:
            yield "duplicate_of", f"position {first}"
            continue
        taken[key] = (event.position, at + once["ttl_us"])
        gone_on = [min(before, at) for before in gone_on]
        gone_on = [before for before in gone_on if before > at - rate["period_us"]]
        if len(gone_on) < rate["limit"]:
            gone_on.append(at)
            yield "run", ""
        else:
            yield "dropped_by_limit", "rate_limit"
