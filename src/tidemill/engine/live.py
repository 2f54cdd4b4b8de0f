"""A live run: its folded state and what the engine needs around it."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tidemill.clock import Wakeup
from tidemill.dag.binding import resolve
from tidemill.dag.definition import Dag
from tidemill.dag.parameters import Parameters
from tidemill.events.event import Event
from tidemill.runs.arguments import make_context
from tidemill.runs.attempts import Attempt, Inputs
from tidemill.runs.output import Results
from tidemill.runs.records import Record
from tidemill.runs.state import RunPhase, RunState
from tidemill.storage.contract import NewRun, RunSummary

__all__ = ["LiveRun", "empty_dag"]


@dataclass(slots=True, eq=False)
class LiveRun:
    """One run that the engine works on."""

    run: NewRun | RunSummary
    dag: Dag
    state: RunState
    #: The event that started it, where some task asks for its context.
    event: Event | None = None
    #: Time of the decisions gathered in `records`: one history row has one time.
    at: int = 0
    #: Records decided and not yet handed to the store.
    records: list[Record] = field(default_factory=list)
    #: Tasks whose start is in `records`.
    starting: list[int] = field(default_factory=list)
    #: Tasks whose retry is in `records`.
    retrying: list[int] = field(default_factory=list)
    #: Ready tasks held back by `max_active_tasks`.
    held: deque[int] = field(default_factory=deque)
    #: Retries that wait for their time.
    timers: dict[int, Wakeup] = field(default_factory=dict)
    #: The phase that the summary row shows.
    shown: RunPhase = RunPhase.QUEUED
    #: Epoch of its shard when this process began to work on it.
    epoch: int = 0
    #: True once another node works on it: nothing of it is recorded or started here any more.
    dropped: bool = False
    run_id: str = field(init=False)
    _results: Results = field(init=False)
    _parameters: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        self.run_id = self.run.run_id
        self._results = Results(self.state.results)

    @property
    def is_full(self) -> bool:
        """True when `max_active_tasks` of the DAG lets no further task start."""
        limit = self.dag.max_active_tasks
        return limit is not None and self.state.running >= limit

    @property
    def parameters(self) -> Mapping[str, Any]:
        """Parameters as the DAG's types, made once per run."""
        if self._parameters is None:
            self._parameters = self.dag.parameters.load(self.run.parameters)
        return self._parameters

    def attempt(self, index: int) -> Attempt:
        """The attempt whose start was just recorded, its arguments resolved.

        Raises what the resolution raises (a path that a result does not have): the attempt failed.
        """
        node = self.state.node(index)
        if node.is_deferred:
            inputs = Inputs(self.state.results, self.run.parameters, self.event)
            return Attempt(self.run_id, self.dag, node, self.state.attempts[index], (), {}, inputs)
        args, kwargs = node.args, node.kwargs
        if node.has_references:
            args, kwargs = resolve(node, self._results, self.parameters)
        if node.context_parameter is not None:
            context = make_context(
                self.run_id,
                self.dag,
                task_id=node.task_id,
                number=self.state.attempts[index],
                parameters=self.parameters,
                event=self.event,
            )
            kwargs = {**kwargs, node.context_parameter: context}
        return Attempt(self.run_id, self.dag, node, self.state.attempts[index], args, kwargs)


def empty_dag(run: NewRun | RunSummary) -> Dag:
    """Stands in for a definition that cannot be had: its run can only be ended."""
    return Dag(
        dag_id=run.dag,
        version=run.version,
        tasks=(),
        index={},
        roots=(),
        output=None,
        parameters=Parameters(),
    )
