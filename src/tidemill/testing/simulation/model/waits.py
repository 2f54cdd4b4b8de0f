"""Waits inside runs: over when they should be and not before, for the first event that they are about.

Where the wall clock was set, only what does not need it is checked.
"""

from __future__ import annotations

from collections.abc import Iterator

from tidemill.testing.clock import START_US
from tidemill.testing.simulation.evidence import Entry, Evidence, Logged, Run
from tidemill.testing.simulation.scenario import Scenario, TaskSpec

__all__ = ["broken"]

#: Longest time in which an event and the end of a wait may miss each other on their ways to the disk.
_NEAR_US = 2_000_000


def broken(scenario: Scenario, evidence: Evidence) -> Iterator[str]:
    """Everything that is wrong with waits."""
    for run in evidence.runs.values():
        for task in scenario.dag(run.dag).tasks:
            if task.wait is not None:
                for what in _one(task, run, evidence):
                    yield f"run {run.run_id}: wait {task.name}: {what}"


def _one(task: TaskSpec, run: Run, evidence: Evidence) -> Iterator[str]:
    mine = [entry for entry in run.entries if entry.values and entry.values[0] == task.name]
    begun = [entry for entry in mine if entry.kind == "task_waiting"]
    ended = [entry for entry in mine if entry.kind in ("task_succeeded", "task_skipped", "task_failed")]
    if len(begun) > 1:
        yield f"it began {len(begun)} times"
    if any(entry.kind == "task_started" for entry in mine):
        yield "an executor was given it"
    if not begun or not ended:
        return
    due_at = begun[0].values[2]
    if due_at is None or due_at < begun[0].at + round(task.wait_seconds * 1_000_000):
        yield f"it began at {begun[0].at} and is due at {due_at}"
        return
    # Records of one decision bear the time at which it began: the commit says when it was over at the earliest.
    early = due_at - START_US - ended[0].at_us
    if task.wait == "sleep":
        if ended[0].kind != "task_succeeded":
            yield f"it ended by {ended[0].kind}"
        elif early > 0 and not evidence.observed.jumps:
            yield f"it ended {early} us early"
        return
    yield from _event(task, begun[0], ended[0], evidence, due_at=due_at)


def _event(task: TaskSpec, begun: Entry, ended: Entry, evidence: Evidence, *, due_at: int) -> Iterator[str]:
    about = [
        event
        for event in evidence.events
        if event.type == task.wanted and task.key in ("", event.data["key"])
    ]
    after = [event for event in about if event.commit > begun.commit]
    if ended.kind == "task_succeeded":
        taken = _taken(ended, about)
        if taken is None:
            yield f"it ended by an event that it was not about: {ended.values[2]}"
        elif taken.received_at < begun.at - _NEAR_US and not evidence.observed.jumps:
            yield f"it ended by position {taken.position}, which came before it began"
        elif after and after[0].position < taken.position:
            yield f"it ended by position {taken.position}, and {after[0].position} was the first"
    elif ended.kind == "task_skipped" and not evidence.observed.jumps:
        if due_at - START_US > ended.at_us:
            yield f"its time was up {due_at - START_US - ended.at_us} us early"
        missed = [event.position for event in after if event.received_at < due_at - _NEAR_US]
        if missed:
            yield f"its time was up, and positions {missed} had come before"


def _taken(ended: Entry, about: list[Logged]) -> Logged | None:
    value = ended.values[2]
    if not isinstance(value, dict):
        return None
    identity = (value.get("source"), value.get("id"))
    return next((event for event in about if (event.source, event.id) == identity), None)
