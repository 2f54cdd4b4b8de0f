"""Routing: one disposition per event and matching trigger, one run per firing, and no chain beyond its limit."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from tidemill.testing.simulation.evidence import Evidence, Logged
from tidemill.testing.simulation.scenario import Scenario, TriggerSpec

__all__ = ["broken", "matches"]

#: Events that name the DAG they start.
_ADDRESSED = {
    "dev.tidemill.dag.requested.v1": "manual",
    "dev.tidemill.run.retry_requested.v1": "retry",
    "dev.tidemill.schedule.tick.v1": "schedule",
}


def matches(trigger: TriggerSpec, event: Logged) -> bool:
    """Whether an event starts, or counts for, a trigger."""
    return event.type in trigger.types and trigger.source in (None, event.source)


def broken(scenario: Scenario, evidence: Evidence) -> Iterator[str]:
    """Everything that is wrong with dispositions and runs."""
    expected: set[tuple[int, str]] = set()
    limit = scenario.settings["max_hops"]
    for event in evidence.events:
        if event.type in _ADDRESSED:
            expected.add((event.position, _ADDRESSED[event.type]))
        for trigger in scenario.triggers:
            if not matches(trigger, event):
                continue
            place = (event.position, trigger.name)
            expected.add(place)
            found = evidence.dispositions.get(place)
            is_too_far = int(event.extensions.get("hopcount", 0)) > limit
            if found is not None and (found[0] == "dead_lettered") != is_too_far:
                yield f"routing: {place} has hop count {event.extensions.get('hopcount', 0)} and is {found[0]}"
            elif found is not None and not trigger.admission and not is_too_far and found[0] != "run":
                yield f"routing: {place} has no admission and is {found[0]}"
    for place in sorted(expected - evidence.dispositions.keys()):
        yield f"routing: {place} matches and has no disposition"
    for place in sorted(evidence.dispositions.keys() - expected):
        yield f"routing: {place} does not match and has a disposition"
    yield from _runs(evidence)
    yield from _letters(evidence)


def _runs(evidence: Evidence) -> Iterator[str]:
    firings: dict[tuple[int, str], list[str]] = defaultdict(list)
    for run in evidence.runs.values():
        firings[run.position, run.trigger].append(run.run_id)
    for place, runs in sorted(firings.items()):
        if len(runs) > 1:
            yield f"routing: {place} has started {len(runs)} runs"
        found = evidence.dispositions.get(place)
        if found is None or found[:2] != ("run", runs[0]):
            yield f"routing: {place} has started {runs[0]} and its disposition is {found}"
    for place, (kind, started, _) in sorted(evidence.dispositions.items()):
        if started is not None and started not in evidence.runs:
            yield f"routing: {place} is {kind} {started}, which does not exist"
        if kind == "run" and place not in firings:
            yield f"routing: {place} is said to have started {started}, which somebody else did"


def _letters(evidence: Evidence) -> Iterator[str]:
    letters = [position for stage, _, position, _ in evidence.letters if stage == "routing"]
    dead = [place[0] for place, found in evidence.dispositions.items() if found[0] == "dead_lettered"]
    if sorted(letters, key=str) != sorted(dead, key=str):
        yield f"routing: dead letters are of {sorted(letters, key=str)}, dispositions of {sorted(dead, key=str)}"
