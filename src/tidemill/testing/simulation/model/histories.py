"""Runs: each ends, its history is one that can be, its row is the fold of it, and its end is told once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from tidemill.testing.simulation.evidence import Entry, Evidence, Logged, Run
from tidemill.testing.simulation.scenario import Scenario, TaskSpec, task_of

__all__ = ["broken"]

#: Failures after which there is no further attempt.
_PERMANENT = ("DoNotRetry", "Quarantined")
_FINAL = ("task_succeeded", "task_failed", "task_skipped", "task_cancelled")


def broken(scenario: Scenario, evidence: Evidence) -> Iterator[str]:
    """Everything that is wrong with runs."""
    told: dict[str, list[Logged]] = defaultdict(list)
    for event in evidence.events:
        if event.type in [f"dev.tidemill.run.{state}.v1" for state in ("succeeded", "failed", "cancelled")]:
            told[str(event.subject)].append(event)
    for run in evidence.runs.values():
        cause = evidence.events[run.position - 1]
        for what in (*_row(run), *_end(run, told.get(run.run_id, []), cause), *_tasks(run, scenario)):
            yield f"run {run.run_id}: {what}"
    for run_id in sorted(told.keys() - evidence.runs.keys()):
        yield f"run {run_id}: its end was told, and there is no such run"
    yield from _active(scenario, evidence)


def _row(run: Run) -> Iterator[str]:
    sequences = sorted({entry.sequence for entry in run.entries})
    if sequences != list(range(len(sequences))):
        yield f"its history has rows {sequences}"
    begun = [entry.at for entry in run.entries if entry.kind == "run_started"]
    ended = [entry for entry in run.entries if entry.kind == "run_ended"]
    if len(begun) > 1 or len(ended) != 1:
        yield f"it began {len(begun)} times and ended {len(ended)} times"
        return
    if run.entries[-1] is not ended[0]:
        yield f"{run.entries[-1].kind} comes after its end"
    row = (run.state, run.started_at, run.ended_at)
    fold = (ended[0].values[0], begun[0] if begun else None, ended[0].at)
    if row != fold:
        yield f"its row says {row} and its history {fold}"


def _end(run: Run, told: list[Logged], cause: Logged) -> Iterator[str]:
    if len(told) != 1:
        yield f"its end was told {len(told)} times"
        return
    (event,) = told
    if event.type != f"dev.tidemill.run.{run.state}.v1":
        yield f"it is {run.state}, and {event.type} was told"
    hops = int(event.extensions.get("hopcount", 0))
    if hops <= int(cause.extensions.get("hopcount", 0)):
        yield f"its end has hop count {hops}, and what started it {cause.extensions.get('hopcount', 0)}"
    ended = [entry.commit for entry in run.entries if entry.kind == "run_ended"]
    if ended and event.commit != ended[0]:
        yield "its end and what tells of it are of two commits"


def _tasks(run: Run, scenario: Scenario) -> Iterator[str]:
    specs = {task.name: task for task in scenario.dag(run.dag).tasks}
    by_name: dict[str, list[Entry]] = defaultdict(list)
    for entry in run.entries:
        if entry.kind.startswith("task_") and entry.kind != "task_expanded":
            by_name[entry.values[0]].append(entry)
    for name, entries in by_name.items():
        for what in _task(specs[task_of(name)], entries):
            yield f"task {name}: {what}"
    ended = [entry for entry in run.entries if entry.kind == "run_ended"]
    deaths = sum(entry.kind == "run_recovered" for entry in run.entries)
    if (
        ended
        and str(ended[0].values[1]).startswith("quarantined")
        and deaths <= scenario.settings["max_recoveries"]
    ):
        yield f"it was quarantined after {deaths} deaths"


def _task(task: TaskSpec, entries: list[Entry]) -> Iterator[str]:
    finals = [entry.kind for entry in entries if entry.kind in _FINAL]
    if len(finals) > 1 or (finals and entries[-1].kind not in _FINAL):
        yield f"its records are {[entry.kind for entry in entries]}"
    numbers = [entry.values[1] for entry in entries if entry.kind == "task_started"]
    if numbers != list(range(1, len(numbers) + 1)):
        yield f"its attempts are {numbers}"
    failures = [entry for entry in entries if entry.kind in ("task_retrying", "task_failed")]
    if len(failures) > task.max_attempts:
        yield f"{len(failures)} attempts have failed, and there are {task.max_attempts}"
    if not failures or failures[-1].kind != "task_failed" or len(failures) >= task.max_attempts:
        return
    why = failures[-1].values[2][:2]
    if why[0] not in _PERMANENT:
        yield f"it was given up after {len(failures)} of {task.max_attempts} attempts: {why}"


def _active(scenario: Scenario, evidence: Evidence) -> Iterator[str]:
    for dag in scenario.dags:
        if dag.max_active_runs is None or any(task.wait is not None for task in dag.tasks):
            continue  # who only waits need not count
        changes: list[tuple[int, int]] = []
        for run in evidence.runs.values():
            begun = [entry.commit for entry in run.entries if entry.kind == "run_started"]
            ended = [entry.commit for entry in run.entries if entry.kind == "run_ended"]
            if run.dag == dag.name and begun and ended:
                changes += [(begun[0], 1), (ended[0], -1)]
        live = 0
        for _, change in sorted(changes):
            live += change
            if live > dag.max_active_runs:
                yield f"dag {dag.name}: {live} runs are under way, and max_active_runs is {dag.max_active_runs}"
                break
