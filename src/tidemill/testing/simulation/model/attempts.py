"""Attempts: begun when their start is on the disk, never after a success, in time, and stopped when asked to."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping

from tidemill.testing.clock import START_US
from tidemill.testing.simulation.evidence import Entry, Evidence, Run
from tidemill.testing.simulation.faults import Weather
from tidemill.testing.simulation.model.graphs import Graph
from tidemill.testing.simulation.observed import Execution
from tidemill.testing.simulation.scenario import Scenario, TaskSpec, task_of

__all__ = ["broken"]

#: Longest time from the record of a cancellation to the end of what it stops, and until it is recorded.
_STOP_US = 20_000_000
_CANCEL_US = 120_000_000
#: Longest time from the end of a time limit to that of what it limits.
_LATE_US = 3_000_000
#: Longest time from a commit to what follows from it; where answers are lost, and the store must be asked.
_ACT_US = 1_500_000
_ASK_US = 15_000_000

_Key = tuple[str, str, int]


def broken(scenario: Scenario, weather: Weather, evidence: Evidence) -> Iterator[str]:
    """Everything that is wrong with what was executed."""
    calls: dict[_Key, Execution] = {}
    act_us = _ASK_US if weather.unanswered or weather.outage_every or weather.refused else _ACT_US
    for call in evidence.observed.executions:
        key = (call.run_id, call.task, call.attempt)
        if call.wrong:
            yield f"attempt {key}: {call.wrong}"
        if key in calls:
            yield f"attempt {key}: it was made twice"
        calls[key] = call
    for run in evidence.runs.values():
        yield from _results(run, calls, scenario)
        yield from _retries(run, calls, evidence, act_us)
        yield from _cancelled(run, evidence)
    yield from _limits(scenario, evidence)


def _results(run: Run, calls: Mapping[_Key, Execution], scenario: Scenario) -> Iterator[str]:
    graph = Graph(scenario.dag(run.dag))
    specs = {task.name: task for task in graph.dag.tasks}
    for entry in run.entries:
        for _ in graph.follow(entry):
            pass  # said by `graphs`
        if entry.kind == "task_succeeded":
            name, attempt, value = entry.values
            call = calls.get((run.run_id, name, attempt))
            if (
                attempt
                and specs[task_of(name)].wait is None
                and (call is None or call.outcome != "returned" or call.value != value)
            ):
                said = None if call is None else (call.outcome, call.value)
                yield f"attempt {(run.run_id, name, attempt)}: {value} was recorded, and it has {said}"
        elif entry.kind == "task_started":
            call = calls.get((run.run_id, *entry.values))
            spec = specs[task_of(entry.values[0])]
            expected = _given(spec, entry.values[0], graph)
            if call is None or not expected or list(call.given) == expected:
                continue
            for one, value, first in zip(spec.upstream, call.given, expected, strict=True):
                if value != first:
                    yield f"attempt {(run.run_id, *entry.values)}: it was given {value} of {one}, not {first}"


def _given(task: TaskSpec, name: str, graph: Graph) -> list[object]:
    """What a task run is called with; nothing for one whose arguments are not results."""
    given = [graph.results.get(one) for one in task.upstream if one != task.over]
    if task.over is not None:
        items = graph.results.get(task.over)
        place = int(name.partition("[")[2].rstrip("]") or 0)
        given.append(items[place] if isinstance(items, list) and place < len(items) else None)
    return given


def _retries(run: Run, calls: Mapping[_Key, Execution], evidence: Evidence, act_us: int) -> Iterator[str]:
    for entry in run.entries:
        if entry.kind != "task_retrying":
            continue
        task, attempt, _, due_at = entry.values
        before = calls.get((run.run_id, task, attempt))
        call = calls.get((run.run_id, task, attempt + 1))
        if call is None or before is None:
            continue
        early = _early_us(entry, due_at, before, call, evidence, act_us=act_us)
        if early > 0:
            yield f"attempt {(run.run_id, task, attempt + 1)}: it began {early} us before it was due"


def _early_us(
    entry: Entry, due_at: int, before: Execution, call: Execution, evidence: Evidence, *, act_us: int
) -> int:
    """How much too early a retry began, by the clock that counts; not above 0 where none can tell."""
    jumps = evidence.observed.jumps
    decided = entry.at - START_US - _jumped_us(evidence, entry.at_us)
    if any(before.begun_us <= at <= entry.at_us + act_us for at, _ in jumps):  # which time is meant?
        return 0
    early = decided + (due_at - entry.at) - call.begun_us
    if before.process != call.process and early > 0:  # read back: only the wall clock has gone on
        if any(at > entry.at_us for at, _ in jumps):
            return 0
        early = due_at - START_US - _jumped_us(evidence, call.begun_us) - call.begun_us
    return early


def _jumped_us(evidence: Evidence, at_us: int) -> int:
    jumps = evidence.observed.jumps
    count = bisect_right([at for at, _ in jumps], at_us)
    return sum(round(seconds * 1_000_000) for _, seconds in jumps[:count])


def _cancelled(run: Run, evidence: Evidence) -> Iterator[str]:
    calls = [call for call in evidence.observed.executions if call.run_id == run.run_id]
    recorded = [entry.at_us for entry in run.entries if entry.kind == "cancel_requested"]
    for asked, at_us in evidence.observed.cancels:
        if asked == run.run_id and not recorded:
            late = [call.task for call in calls if call.begun_us > at_us + _CANCEL_US]
            if late:
                yield f"run {run.run_id}: it was to be cancelled, and {late} began long after that"
    for at_us in recorded:
        for call in calls:
            if call.begun_us > at_us:
                yield f"run {run.run_id}: {call.task} began after it was cancelled"
            elif call.ended_us is not None and call.ended_us > at_us + _STOP_US:
                yield f"run {run.run_id}: {call.task} went on for {call.ended_us - at_us} us after it was cancelled"


def _limits(scenario: Scenario, evidence: Evidence) -> Iterator[str]:
    dags = {run.run_id: scenario.dag(run.dag) for run in evidence.runs.values()}
    ends = {place: ended for place, (_, ended, _) in enumerate(evidence.observed.lives, 1)}
    changes: list[tuple[int, int, int, str]] = []
    for call in evidence.observed.executions:
        dag = dags.get(call.run_id)
        if dag is None:
            yield f"attempt {(call.run_id, call.task)}: it is of no run"
            continue
        spec = next(task for task in dag.tasks if task.name == task_of(call.task))
        ended = call.ended_us if call.ended_us is not None else ends.get(call.process, call.begun_us)
        if spec.timeout is not None and call.ended_us is not None:
            late = call.ended_us - call.begun_us - round(spec.timeout * 1_000_000)
            if late > _LATE_US:
                yield f"attempt {(call.run_id, call.task, call.attempt)}: it went on for {late} us after its time limit"
        if not spec.is_plain:
            changes += [(call.begun_us, 1, call.process, call.run_id), (ended, -1, call.process, call.run_id)]
    running: Counter[int] = Counter()
    of_run: dict[str, int] = defaultdict(int)
    limit = scenario.settings["max_running_tasks"]
    for _, change, process, run in sorted(changes):
        running[process] += change
        of_run[run] += change
        if running[process] > limit:
            yield f"{running[process]} attempts run at once, and max_running_tasks is {limit}"
            return
        most = dags[run].max_active_tasks
        if most is not None and of_run[run] > most:
            yield f"run {run}: {of_run[run]} attempts run at once, and max_active_tasks is {most}"
            return
