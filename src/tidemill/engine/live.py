"""A live run: its folded state and what the engine needs around it."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tidemill.clock import Wakeup
from tidemill.dag.binding import resolve
from tidemill.dag.definition import Dag, TaskNode
from tidemill.dag.parameters import Parameters
from tidemill.engine.carried import LiveReuse
from tidemill.engine.durations import Watched
from tidemill.events.event import Event
from tidemill.runs.arguments import make_arguments, make_context
from tidemill.runs.attempts import Attempt, Inputs
from tidemill.runs.inputs import GivenResults, ResultElsewhere
from tidemill.runs.maps import Items, SpawnedItems, items_of
from tidemill.runs.records import Record
from tidemill.runs.spawning import Spawned
from tidemill.runs.state import FINAL_TASK_STATES, RunPhase, RunState
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
    #: True when it was read back because a wait of it has ended.
    woken: bool = False
    #: Rows of its history that are on disk, of a run that may wait.
    settled: int = 0
    #: What the scheduler keeps of it (see `Scheduler.enter`), and what its attempts have taken, by task run.
    standing: Any = None
    grants: dict[int, Any] = field(default_factory=dict)
    #: What its tasks' durations are learned with; None: nothing is learned from this run.
    watched: Watched | None = None
    #: What it takes over of other runs and hands on to them; most runs do neither.
    reuse: LiveReuse | None = None
    run_id: str = field(init=False)
    _results: GivenResults = field(init=False)
    _parameters: Mapping[str, Any] | None = None
    #: Results by task run that starts before all above it have ended.
    _noted: dict[int, dict[int, bytes]] = field(default_factory=dict)
    #: By mapped task.
    _items: dict[int, Items] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.run_id = self.run.run_id
        self._results = GivenResults(self.state.results, self.dag.decoders)

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
        nodes = self.dag.tasks
        if index >= len(nodes):
            return self._attempt_of_map(index)
        node = nodes[index]
        if node.spawns or node.is_early:
            return self._attempt_of(node, index, node.task_id, None)
        if node.is_deferred:
            inputs = Inputs(self.state.results, self.run.parameters, self.event)
            return Attempt(self.run_id, self.dag, node, self.state.attempts[index], (), {}, inputs)
        args, kwargs = node.args, node.kwargs
        if node.has_references:
            try:
                args, kwargs = resolve(node, self._results, self.parameters)
            except ResultElsewhere:  # whoever runs it has it fetched
                inputs = Inputs(self.state.results, self.run.parameters, self.event)
                return Attempt(self.run_id, self.dag, node, self.state.attempts[index], (), {}, inputs)
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

    def wait_values(self, index: int) -> Mapping[str, Any]:
        """What a wait is about, values in place of references; raises what the resolution raises."""
        return resolve(self.dag.tasks[index], self._results, self.parameters)[1]

    def note_results(self, index: int) -> None:
        """A task starts that does not wait for all above it: it is given what is there now, which is on disk when it
        begins, and nothing that comes until then.
        """
        node, texts = self.state.node(index), self.state.results
        self._noted[index] = {above: texts[above] for above in node.upstream if above in texts}

    def items(self, owner: int) -> Items | SpawnedItems:
        """What a mapped task is called for, read once; raises `TaskFailed` when that is no list or dict."""
        node = self.dag.tasks[owner]
        if node.is_spawned:
            assert self.state.unfolding is not None  # noqa: S101 - it is more than plain
            return SpawnedItems(self.state.unfolding.spawned.get(owner, ()))
        found = self._items.get(owner)
        if found is None:
            found = self._items[owner] = items_of(self.dag.tasks[owner], self._results, self.parameters)
        return found

    def forget_items(self) -> None:
        """Let go of the items of maps that have ended."""
        for owner in [one for one in self._items if self.state.tasks[one] in FINAL_TASK_STATES]:
            del self._items[owner]

    def _attempt_of_map(self, index: int) -> Attempt:
        owner, place = self.state.place(index)
        return self._attempt_of(
            self.dag.tasks[owner], index, self.state.name(index), self.items(owner).at(place)
        )

    def _attempt_of(
        self, node: TaskNode, index: int, task_id: str, item: Mapping[str, Any] | None
    ) -> Attempt:
        state, number = self.state, self.state.attempts[index]
        texts = self._noted.pop(index, state.results) if node.is_early else state.results
        results = self._results if texts is state.results else GivenResults(texts, self.dag.decoders)
        spawned = Spawned(self.dag, node) if node.spawns else None
        args: tuple[Any, ...] = ()
        kwargs: Mapping[str, Any] = {}
        is_deferred = node.is_deferred
        if not is_deferred:
            try:
                args, kwargs = make_arguments(
                    self.run_id,
                    self.dag,
                    node=node,
                    number=number,
                    results=results,
                    parameters=self.parameters if node.has_references or node.context_parameter else {},
                    event=self.event,
                    task_id=task_id,
                    item=item,
                    spawned=spawned,
                )
            except ResultElsewhere:  # whoever runs it has it fetched
                is_deferred = True
        return Attempt(
            self.run_id,
            self.dag,
            node,
            number,
            args,
            kwargs,
            Inputs(texts, self.run.parameters, self.event, item) if is_deferred else None,
            spawned=spawned,
            index=index,
            task_id=task_id,
        )


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
