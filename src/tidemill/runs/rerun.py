"""What a run that is made again takes over of the earlier one, and what it does anew. Pure.

1. What is above the chosen tasks is carried over, the chosen tasks are called again, and so is everything below them
   unless only they were asked for.
2. An edited result stands in place of the earlier run's; everything below it is called again.
3. Where something between a setup and its teardown is called again, both are: what the setup made is gone.
4. With other parameters nothing is carried over but what was asked for: results above may depend on them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from tidemill.dag.definition import Dag
from tidemill.runs.records import RunEnded, TaskSucceeded, decode
from tidemill.runs.reuse import How, Reused
from tidemill.runs.state import RunPhase

__all__ = ["Done", "Plan", "carried", "done_in", "node_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What of a run is made again. Tasks are named by their ids, task runs of a map as in histories (`load[3]`)."""

    #: These and everything below them.
    from_tasks: Sequence[str] = ()
    #: These, and nothing else that has a result.
    only: Sequence[str] = ()
    #: What did not succeed.
    failed: bool = False
    #: Everything below `only`, too.
    with_downstream: bool = False
    #: Results in place of the earlier run's, as JSON values.
    edits: Mapping[str, Any] = field(default_factory=dict)
    #: Names of parameters that are others than the earlier run's.
    changed: Sequence[str] = ()
    by: str = ""

    @property
    def is_whole(self) -> bool:
        """True when nothing was chosen: everything is made again, but for what was edited."""
        return not (self.from_tasks or self.only or self.failed) and (bool(self.changed) or not self.edits)

    def as_json(self) -> dict[str, Any]:
        """As it stands in the event that asks for it."""
        return {
            "from": list(self.from_tasks),
            "only": list(self.only),
            "failed": self.failed,
            "with_downstream": self.with_downstream,
            "edits": dict(self.edits),
            "changed": list(self.changed),
        }

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Plan:
        """The plan in the data of an event; one that has none asks for what did not succeed."""
        by, asked = str(data.get("by", "")), data.get("rerun")
        if not isinstance(asked, Mapping):
            return cls(failed=True, by=by)
        return cls(
            from_tasks=tuple(asked.get("from", ())),
            only=tuple(asked.get("only", ())),
            failed=bool(asked.get("failed")),
            with_downstream=bool(asked.get("with_downstream")),
            edits=dict(asked.get("edits", {})),
            changed=tuple(asked.get("changed", ())),
            by=by,
        )


def node_of(name: str) -> str:
    """The id of the task whose task run this names."""
    return name.partition("[")[0]


@dataclass(frozen=True, slots=True)
class Done:
    """What there is of the earlier run."""

    #: Results as JSON text, by the names of task runs.
    results: Mapping[str, bytes]
    #: True when nothing was left to do: a task without a result was skipped.
    succeeded: bool


def done_in(history: Iterable[tuple[int, int, bytes]]) -> Done:
    """What a run has done, from its history."""
    results: dict[str, bytes] = {}
    succeeded = False
    for _, _, body in history:
        for record in decode(body):
            if isinstance(record, TaskSucceeded):
                results[record.task] = record.result
            elif isinstance(record, RunEnded):
                succeeded = record.state == RunPhase.SUCCEEDED
    return Done(results, succeeded)


def carried(plan: Plan, dag: Dag, run: str, done: Done) -> dict[str, Reused]:
    """What a run on `dag` takes over of `run`: results by the names of task runs."""
    kept = {} if plan.is_whole else _kept(plan, dag, done)
    found = {name: Reused(text, How.CARRIED, run) for name, text in kept.items()}
    for name, value in plan.edits.items():
        found[name] = Reused(orjson.dumps(value), How.EDITED, run, plan.by)
    return found


def _kept(plan: Plan, dag: Dag, done: Done) -> dict[str, bytes]:
    asked = {*plan.from_tasks, *plan.only}
    starts = {*plan.from_tasks, *plan.edits, *(plan.only if plan.with_downstream else ())}
    # What a map comes to follows from its task runs, of which the others stay.
    partly = {node_of(name) for name in (*asked, *plan.edits) if name != node_of(name)}
    again = {*asked, *partly, *plan.edits}
    whole = asked | _below(dag, map(node_of, starts))
    kept = {
        name: text for name, text in done.results.items() if name not in again and node_of(name) not in whole
    }
    if not dag.teardowns:
        return kept
    called = {node_of(name) for name in asked} | whole | partly
    if not done.succeeded:
        has_result = {node_of(name) for name in (*kept, *plan.edits)}
        called |= {node.task_id for node in dag.tasks if node.task_id not in has_result}
    around = _torn_down(dag, called)
    return {name: text for name, text in kept.items() if node_of(name) not in around}


def _torn_down(dag: Dag, called: set[str]) -> set[str]:
    """Setups and teardowns around what is called again; that itself may lie within others."""
    found: set[str] = set()
    is_more = True
    while is_more:
        is_more = False
        for index in dag.teardowns:
            teardown = dag.tasks[index]
            setups = {dag.tasks[setup].task_id for setup in teardown.setups}
            around = {teardown.task_id, *setups}
            within = _above(dag, index) & _below(dag, setups) if setups else _above(dag, index)
            if not around <= found and (called | found) & (within | around):
                found |= around
                is_more = True
    return found


def _above(dag: Dag, task: int) -> set[str]:
    """Ids of everything above this task."""
    found: set[int] = set()
    pending = list(dag.tasks[task].upstream)
    while pending:
        index = pending.pop()
        if index not in found:
            found.add(index)
            pending.extend(dag.tasks[index].upstream)
    return {dag.tasks[index].task_id for index in found}


def _below(dag: Dag, tasks: Iterable[str]) -> set[str]:
    """Ids of everything below these tasks."""
    found: set[int] = set()
    pending = [
        below for task in tasks if task in dag.index for below in dag.tasks[dag.index[task]].downstream
    ]
    while pending:
        index = pending.pop()
        if index not in found:
            found.add(index)
            pending.extend(dag.tasks[index].downstream)
    return {dag.tasks[index].task_id for index in found}
