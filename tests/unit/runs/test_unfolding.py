"""Runs of graphs with rules, conditions, branches, maps and teardowns in any combination, played by chance."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import orjson
from hypothesis import event, given, settings
from hypothesis import strategies as st
from tests.unit.runs.graphs import make_dag, unfolding_dags

from tidemill.dag.definition import Dag, NodeKind
from tidemill.dag.edges import EdgeKind
from tidemill.runs import decide
from tidemill.runs.fold import apply
from tidemill.runs.maps import MapRuns, items_of
from tidemill.runs.output import Results
from tidemill.runs.records import Failure, Record, decode, encode
from tidemill.runs.rules import Counted, Tally, Verdict, verdict
from tidemill.runs.state import FINAL_RUN_STATES, FINAL_TASK_STATES, RunPhase, RunState, TaskState
from tidemill.runs.view import decode_graph, encode_graph, task_views

FAILURE = Failure("E", "no")
_NEVER_BEGAN = (TaskState.SKIPPED, TaskState.UPSTREAM_FAILED)


class Play:
    """One run that is played by chance, as the engine would play it: each step is one history row."""

    def __init__(self, dag: Dag, draw: st.DataObject) -> None:
        self.dag = dag
        self.draw = draw.draw
        self.state = RunState("run", dag)
        self.rows: list[tuple[int, int, bytes]] = []
        self.snapshots = [snapshot(self.state)]

    def step(self, *, kindly: bool = False) -> bool:
        """Do one thing that may happen now (`kindly`: nothing that ends the run early); False when it has ended."""
        state, into = self.state, list[Record]()
        if state.phase in FINAL_RUN_STATES:
            return False
        if state.phase is RunPhase.QUEUED:
            decide.start(state, len(self.rows), into)
        else:
            running = [i for i, task in enumerate(state.tasks) if task is TaskState.RUNNING]
            startable = [
                i for i, task in enumerate(state.tasks) if task in (TaskState.READY, TaskState.RETRYING)
            ]
            startable = [i for i in startable if i >= len(self.dag.tasks) or not self.dag.tasks[i].mapped]
            choices = ["start"] * 4 * bool(startable) + ["end"] * 4 * bool(running)
            if not kindly:
                choices += ["die"] + ["cancel"] * (not state.cancelling)
            if not choices:
                raise AssertionError(f"nothing can happen any more: {state.tasks}")
            self._do(self.draw(st.sampled_from(choices)), running, startable, into)
        self._expand(into)
        if into:
            self.rows.append((len(self.rows), len(self.rows), encode(into)))
            self.snapshots.append(snapshot(state))
        return True

    def _do(self, what: str, running: list[int], startable: list[int], into: list[Record]) -> None:
        state, at, draw = self.state, len(self.rows), self.draw
        event(what)
        match what:
            case "start":
                assert decide.start_task(state, draw(st.sampled_from(startable)), at, into) is not None
            case "die":
                decide.recover(state, at, into, max_recoveries=2)
            case "cancel":
                decide.cancel(state, "me", at, into)
            case _:
                self._end(draw(st.sampled_from(running)), into)

    def _end(self, index: int, into: list[Record]) -> None:
        state, at, draw = self.state, len(self.rows), self.draw
        how = draw(st.sampled_from(["return"] * 4 + ["raise", "give up", "skip"]))
        match how:
            case "return":
                decide.attempt_succeeded(state, index, self._result(index), at, into)
            case "skip":
                decide.attempt_skipped(state, index, "", at, into)
            case _:
                decide.attempt_failed(state, index, FAILURE, at, into, permanent=how == "give up")

    def _result(self, index: int) -> bytes:
        node = self.state.node(index)
        if node.kind is NodeKind.BRANCH:
            below = [self.dag.tasks[one].task_id for one in node.downstream]
            chosen = self.draw(st.lists(st.sampled_from(below), unique=True)) if below else []
            return orjson.dumps(chosen)
        return self.draw(st.sampled_from([b"0", b"1", b"4", b"[1,2,3]", b'{"a":1,"b":2}']))

    def _expand(self, into: list[Record]) -> None:
        state = self.state
        assert state.unfolding is not None
        while state.unfolding.openings:
            index = state.unfolding.openings[0]
            try:
                count: int | Failure = items_of(self.dag.tasks[index], Results(state.results), {}).count
            except Exception as error:
                count = Failure(type(error).__name__, str(error))
            decide.expand(state, index, count, len(self.rows), into)


def snapshot(state: RunState) -> dict[str, Any]:
    """Everything a state says; of the queue of ready tasks only what is in it and still ready."""
    names = [name for name in RunState.__slots__ if name not in ("dag", "sequence", "unfolding")]
    found: dict[str, Any] = {name: getattr(state, name) for name in names}
    found["ready"] = {index for index in state.ready if state.tasks[index] is TaskState.READY}
    if (known := state.unfolding) is not None:
        found["openings"], found["undecided"] = list(known.openings), list(known.undecided)
        found["tallies"] = {index: dataclasses.replace(tally) for index, tally in known.tallies.items()}
        found["maps"] = {
            owner: {name: getattr(runs, name) for name in MapRuns.__slots__}
            for owner, runs in known.maps.items()
        }
    return {name: value.copy() if isinstance(value, list | dict) else value for name, value in found.items()}


#: A graph that is plain in every node has no more than `test_histories` plays.
graphs = unfolding_dags().filter(lambda dag: not dag.is_plain)


@given(dag=graphs, data=st.data())
@settings(max_examples=200, deadline=None)
def test_every_prefix_of_a_history_folds_to_the_state_it_was_written_in(
    dag: Dag, data: st.DataObject
) -> None:
    play = Play(dag, data)
    while len(play.rows) < 40 and play.step():
        pass

    stored = RunState("run", dag)
    for count, (_, at, body) in enumerate(play.rows, 1):
        for record in decode(body):
            apply(stored, record, at)
        assert snapshot(stored) == play.snapshots[count]


@given(dag=graphs, data=st.data())
@settings(max_examples=150, deadline=None)
def test_view_from_the_kept_graph_shows_what_the_fold_says(dag: Dag, data: st.DataObject) -> None:
    play = Play(dag, data)
    while len(play.rows) < 40 and play.step():
        pass

    views = {view.task_id: view for view in task_views(decode_graph(encode_graph(dag)), play.rows)}

    state = play.state
    assert state.unfolding is not None
    assert len(views) == len(state.tasks)
    for index, task in enumerate(state.tasks):
        view = views[state.name(index)]
        is_map_under_way = index in state.unfolding.maps and task is TaskState.WAITING
        assert view.state == (TaskState.RUNNING if is_map_under_way else task)
        assert view.attempts == state.attempts[index]
        if index in state.unfolding.maps:
            runs = state.unfolding.maps[index]
            assert view.map is not None
            assert (view.map.total, view.map.done) == (runs.total, runs.done)


@given(dag=graphs, data=st.data())
@settings(max_examples=200, deadline=None)
def test_run_always_ends_whatever_its_tasks_do(dag: Dag, data: st.DataObject) -> None:
    play = Play(dag, data)
    steps = data.draw(st.integers(0, 15))
    while steps and play.step():
        steps -= 1
    for _ in range(2000):
        if not play.step(kindly=True):
            break

    state = play.state
    assert state.phase in FINAL_RUN_STATES
    assert set(state.tasks) <= FINAL_TASK_STATES
    assert (state.running, state.unfinished) == (0, 0)
    if state.phase is RunPhase.SUCCEEDED:
        leaves = [node for node in dag.tasks if node.decides]
        leaves = [node for node in leaves if not any(dag.tasks[below].decides for below in node.downstream)]
        assert not any(
            state.tasks[node.index] in (TaskState.FAILED, TaskState.UPSTREAM_FAILED) for node in leaves
        )


@given(dag=graphs, data=st.data())
@settings(max_examples=200, deadline=None)
def test_task_began_or_not_as_some_order_of_its_upstream_allows(dag: Dag, data: st.DataObject) -> None:
    play = Play(dag, data)
    while play.step(kindly=True):
        pass

    state = play.state
    for node in dag.tasks:
        if not node.upstream or node.is_teardown:
            continue
        counted = [_possible(state, above, node.index) for above in node.upstream]
        allowed = {
            _first_verdict(node, order)
            for choice in itertools.product(*counted)
            for order in itertools.permutations(choice)
        }
        task = state.tasks[node.index]
        began = Verdict.START in allowed
        assert task not in _NEVER_BEGAN or allowed - {Verdict.START} or _said_so(state, node.index)
        assert task in _NEVER_BEGAN or began, (node, counted, task)


@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_teardown_runs_after_its_setup_however_the_run_ends(data: st.DataObject) -> None:
    # setup → work → teardown
    dag = make_dag([[], [0], [0, 1]], changes={2: {"is_teardown": True, "setups": (0,), "decides": False}})
    play = Play(dag, data)
    while play.step():
        if play.state.recoveries > 2:
            return  # quarantined: nothing of it is touched again

    setup, _, _ = play.state.tasks
    assert (play.state.attempts[2] > 0) == (setup is TaskState.SUCCEEDED)


def _possible(state: RunState, above: int, below: int) -> set[Counted]:
    """What an upstream task may have counted as."""
    task, dag = state.tasks[above], state.dag
    own = {
        TaskState.SUCCEEDED: Counted.SUCCESS,
        TaskState.FAILED: Counted.FAILED,
        TaskState.UPSTREAM_FAILED: Counted.UPSTREAM_FAILED,
        TaskState.SKIPPED: Counted.SKIPPED,
    }[task]
    if own is Counted.SUCCESS and dag.tasks[above].kind is not NodeKind.TASK:
        return {Counted.SUCCESS, Counted.SKIPPED, Counted.FAILED}
    edge = dag.tasks[below].edges.get(above)
    if edge is None:
        return {own}
    match edge.kind:
        case EdgeKind.COMPLETION:
            return {Counted.SUCCESS}
        case EdgeKind.FAILURE:
            failed = own in (Counted.FAILED, Counted.UPSTREAM_FAILED)
            return {Counted.SUCCESS if failed else Counted.SKIPPED}
    return {Counted.SUCCESS, Counted.SKIPPED, Counted.FAILED} if own is Counted.SUCCESS else {own}


def _first_verdict(node: Any, order: tuple[Counted, ...]) -> Verdict | None:
    tally = Tally(len(order))
    for counted in order:
        tally.count(counted)
        if node.fate is None and (found := verdict(node.rule, tally)) is not None:
            return found
    if node.fate is None:
        return None
    failed = tally.failed + tally.upstream_failed > 0
    return Verdict.START if failed == (node.fate == "failure") else Verdict.SKIP


def _said_so(state: RunState, index: int) -> bool:
    """A task that began and said itself that there is nothing to do, or whose map did."""
    assert state.unfolding is not None
    return state.attempts[index] > 0 or index in state.unfolding.maps
