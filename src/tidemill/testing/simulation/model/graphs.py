"""What each run's graph allows: a task begins when its trigger rule says so, and the run ends as its last tasks did.

One pass over the history, task by task; the rules are told anew, from their descriptions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from tidemill.testing.simulation.evidence import Entry, Evidence, Run
from tidemill.testing.simulation.scenario import DagSpec, Scenario, TaskSpec, task_of

__all__ = ["Graph", "broken"]

_FINAL = {
    "task_succeeded": "succeeded",
    "task_failed": "failed",
    "task_skipped": "skipped",
    "task_cancelled": "cancelled",
}


def broken(scenario: Scenario, evidence: Evidence) -> Iterator[str]:
    """Everything that a graph does not allow."""
    for run in evidence.runs.values():
        graph = Graph(scenario.dag(run.dag))
        for entry in run.entries:
            for what in graph.follow(entry):
                yield f"run {run.run_id}: {what}"
        for what in _end(run, graph):
            yield f"run {run.run_id}: {what}"


class Graph:
    """How the tasks of one run stand."""

    def __init__(self, dag: DagSpec) -> None:
        self.dag = dag
        self.states = {task.name: "pending" for task in dag.tasks}
        self.results: dict[str, object] = {}
        #: Of mapped tasks, once they are known.
        self.sizes: dict[str, int] = {}
        #: States of task runs of maps.
        self.parts: dict[str, str] = {}
        self._running: set[str] = set()
        self._below = {
            task.name: [one for one in dag.tasks if task.name in one.upstream] for task in dag.tasks
        }

    def follow(self, entry: Entry) -> Iterator[str]:
        """Take in one record."""
        if entry.kind == "run_started":
            for task in self.dag.tasks:
                self._consider(task)
        elif entry.kind == "task_expanded":
            yield from self._expand(*entry.values)
        elif entry.kind == "cancel_requested":
            for name, state in self.states.items():
                if state in ("pending", "ready") and name not in self._running:
                    self.states[name] = "cancelled"
        elif entry.kind in ("task_retrying", "task_lost"):
            self._running.discard(entry.values[0])
        elif entry.kind in ("task_started", "task_waiting"):
            name = entry.values[0]
            if entry.kind == "task_started":
                self._running.add(name)
            if self.states[task_of(name)] != "ready":
                yield f"task {name}: it began, and its task is {self.states[task_of(name)]}"
        elif entry.kind in _FINAL:
            name, state = entry.values[0], _FINAL[entry.kind]
            self._running.discard(name)
            if state == "succeeded":
                self.results[name] = entry.values[2]
            if task_of(name) == name:
                self._settle(name, state)
            else:
                self.parts[name] = state
                self._join(task_of(name))

    def _expand(self, name: str, size: int) -> Iterator[str]:
        task = next(one for one in self.dag.tasks if one.name == name)
        if self.states[name] != "ready":
            yield f"task {name}: it was expanded, and is {self.states[name]}"
        items = self.results.get(str(task.over))
        if not isinstance(items, list) or len(items) != size:
            yield f"task {name}: it has {size} task runs for the items {items}"
        self.sizes[name] = size
        self._join(name)

    def _join(self, name: str) -> None:
        size = self.sizes.get(name)
        if self.states[name] == "cancelled":
            return
        parts = [self.parts.get(f"{name}[{place}]") for place in range(size or 0)]
        if size is None or None in parts or self.states[name] not in ("ready", "pending"):
            return
        counts = Counter(parts)
        if counts["cancelled"]:
            self._settle(name, "cancelled")
        elif counts["failed"]:
            self._settle(name, "failed")
        elif size and counts["skipped"] == size:
            self._settle(name, "skipped")
        else:
            self.results[name] = [self.results.get(f"{name}[{place}]") for place in range(size)]
            self._settle(name, "succeeded")

    def _settle(self, name: str, state: str) -> None:
        self.states[name] = state
        for task in self._below[name]:
            self._consider(task)

    def _consider(self, task: TaskSpec) -> None:
        if self.states[task.name] != "pending":
            return
        verdict = _verdict(task.rule, [self._as_seen(name, task) for name in task.upstream])
        if verdict == "ready":
            self.states[task.name] = verdict
        elif verdict:
            self._settle(task.name, verdict)

    def _as_seen(self, name: str, task: TaskSpec) -> str:
        """How a task above counts: one that has chosen others is skipped for those that none of the chosen leads to."""
        state = self.states[name]
        if state != "succeeded" or not next(one for one in self.dag.tasks if one.name == name).branches:
            return state
        chosen = self.results[name]
        reached = list(chosen) if isinstance(chosen, list) else []
        for one in reached:
            reached += [below.name for below in self._below[one] if below.name not in reached]
        return state if task.name in reached else "skipped"


def _verdict(rule: str, above: Sequence[str]) -> str:
    """ "ready", "skipped", "upstream_failed", or nothing as long as that is open."""
    well = above.count("succeeded")
    badly = sum(above.count(state) for state in ("failed", "upstream_failed", "cancelled"))
    not_called = above.count("skipped")
    all_ended = well + badly + not_called == len(above)
    match rule:
        case "all_success":
            if badly:
                return "upstream_failed"
            return "skipped" if not_called else "ready" if all_ended else ""
        case "all_done":
            return "ready" if all_ended else ""
        case "none_failed":
            return "upstream_failed" if badly else "ready" if all_ended else ""
        case "one_failed":
            return "ready" if badly else "skipped" if all_ended else ""
        case "one_success":
            if well:
                return "ready"
            return "" if not all_ended else "skipped" if not_called == len(above) else "upstream_failed"
        case _:
            raise ValueError(rule)


def _end(run: Run, graph: Graph) -> Iterator[str]:
    ended = [entry for entry in run.entries if entry.kind == "run_ended"]
    if not ended or str(ended[0].values[1]).startswith("quarantined"):
        return
    state, reason = ended[0].values
    is_cancelled = any(entry.kind == "cancel_requested" for entry in run.entries)
    # A failure is the run's unless something right below began in spite of it, or failed because of it.
    heard = {
        name
        for task in graph.dag.tasks
        for name in task.upstream
        if graph.states[task.name] in ("succeeded", "failed", "upstream_failed")
    }
    last = [graph.states[task.name] for task in graph.dag.tasks if task.name not in heard]
    left = [name for name, one in graph.states.items() if one in ("ready", "pending")]
    if left and not is_cancelled:
        yield f"it ended as {state}, and {left} had not"
    expected = {"failed"} if {"failed", "upstream_failed"} & set(last) else {"succeeded"}
    if is_cancelled and (left or "cancelled" in graph.states.values()):
        expected = {"cancelled", *expected} - {"succeeded"}
    if state not in expected or reason:
        yield f"it ended as {state} ({reason!r}), and its tasks are {graph.states}"
