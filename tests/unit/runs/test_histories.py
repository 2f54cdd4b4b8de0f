"""Any legal history of any DAG: folds the same live, prefix by prefix and from its stored form, and comes to an end."""

from __future__ import annotations

from hypothesis import event, given, settings
from hypothesis import strategies as st
from tests.unit.runs.graphs import dags, give

from tidemill.dag.definition import Dag
from tidemill.runs import decide
from tidemill.runs.fold import apply
from tidemill.runs.records import Failure, Record, TaskCancelled, TaskStarted, decode, encode
from tidemill.runs.state import (
    FINAL_RUN_STATES,
    FINAL_TASK_STATES,
    RunPhase,
    RunState,
    TaskState,
)
from tidemill.runs.view import decode_graph, encode_graph, task_views

MAX_RECOVERIES = 2
texts = st.text(max_size=5)
results = st.one_of(
    st.just(b"null"), st.just(b'{"a":[1,2.5,true]}'), st.integers(-9, 9).map(lambda n: b"%d" % n)
)


class Play:
    """One run that is played by chance, as the engine would play it: each step is one history row."""

    def __init__(self, dag: Dag, draw: st.DataObject) -> None:
        self.dag = dag
        self.draw = draw
        self.state = RunState("run", dag)
        self.rows: list[tuple[int, int, bytes]] = []
        self.batches: list[tuple[int, list[Record]]] = []
        self.at = 1_000
        self.snapshots = [snapshot(self.state)]

    def step(self) -> bool:
        """Do one thing that may happen now; False when the run has ended."""
        state = self.state
        if state.phase in FINAL_RUN_STATES:
            return False
        running = [i for i, task in enumerate(state.tasks) if task is TaskState.RUNNING]
        startable = [i for i, task in enumerate(state.tasks) if task in (TaskState.READY, TaskState.RETRYING)]
        choices = []
        if state.phase is RunPhase.QUEUED:
            choices += ["begin"] * 4 + ["cancel"]
        else:
            choices += ["start"] * 4 * bool(startable) + ["succeed", "succeed", "fail", "doom"] * bool(
                running
            )
            choices += [] if state.cancelling else ["cancel"]
            choices += ["die"]
            choices += ["stopped"] * (bool(running) and state.cancelling)
        self.do(self.draw.draw(st.sampled_from(choices)), running, startable)
        return True

    def do(self, what: str, running: list[int], startable: list[int]) -> None:
        into: list[Record] = []
        state, at, draw = self.state, self.at, self.draw.draw
        match what:
            case "begin":
                carried = {f"t{i}": b"7" for i in draw(st.sets(st.integers(0, len(self.dag.tasks) - 1)))}
                decide.start(state, at, into)
                if draw(st.booleans()):
                    give(state, carried, into, at=at)
            case "start":
                for index in draw(st.lists(st.sampled_from(startable), min_size=1, unique=True)):
                    decide.start_task(state, index, at, into)
            case "succeed":
                decide.attempt_succeeded(state, draw(st.sampled_from(running)), draw(results), at, into)
            case "fail" | "doom":
                failure = Failure("E", draw(texts))
                index = draw(st.sampled_from(running))
                decide.attempt_failed(state, index, failure, at, into, permanent=what == "doom")
            case "stopped":
                decide.attempt_cancelled(state, draw(st.sampled_from(running)), at, into)
            case "cancel":
                stops = decide.cancel(state, "me", at, into)
                assert stops == running
            case "die":
                decide.recover(state, at, into, max_recoveries=MAX_RECOVERIES)
        event(what)
        if into:
            self.rows.append((len(self.rows), at, encode(into)))
            self.batches.append((at, into))
            self.snapshots.append(snapshot(state))
        self.at += draw(st.integers(0, 5))


def snapshot(state: RunState) -> dict[str, object]:
    """Everything a state says; of the queue of ready tasks only what is in it and still ready."""
    values = {name: getattr(state, name) for name in RunState.__slots__ if name not in ("dag", "sequence")}
    values["ready"] = {index for index in state.ready if state.tasks[index] is TaskState.READY}
    return {name: value.copy() if isinstance(value, list | dict) else value for name, value in values.items()}


@given(dag=dags(), data=st.data())
@settings(max_examples=150, deadline=None)
def test_every_prefix_of_a_history_folds_to_the_state_it_was_written_in(
    dag: Dag, data: st.DataObject
) -> None:
    play = Play(dag, data)
    while len(play.rows) < 40 and play.step():
        pass

    stored = RunState("run", dag)
    assert snapshot(stored) == play.snapshots[0]
    for count, ((_, at, body), (_, records)) in enumerate(zip(play.rows, play.batches, strict=True), 1):
        assert decode(body) == records
        for record in decode(body):
            apply(stored, record, at)
        assert snapshot(stored) == play.snapshots[count]


@given(dag=dags(), data=st.data())
@settings(max_examples=150, deadline=None)
def test_view_of_every_prefix_agrees_with_the_fold(dag: Dag, data: st.DataObject) -> None:
    play = Play(dag, data)
    while len(play.rows) < 40 and play.step():
        pass

    graph = decode_graph(encode_graph(dag))
    for count, expected in enumerate(play.snapshots):
        views = task_views(graph, play.rows[:count])

        assert [view.state for view in views] == expected["tasks"]
        assert [view.attempts for view in views] == expected["attempts"]
        assert {i: v.result for i, v in enumerate(views) if v.result is not None} == expected["results"]
        assert {i: v.retry_at for i, v in enumerate(views) if v.retry_at is not None} == expected["retry_at"]


@given(dag=dags(), data=st.data())
@settings(max_examples=150, deadline=None)
def test_counters_agree_with_a_count_of_the_tasks(dag: Dag, data: st.DataObject) -> None:
    play = Play(dag, data)

    while len(play.rows) < 40 and play.step():
        state, tasks = play.state, play.state.tasks
        assert state.running == tasks.count(TaskState.RUNNING)
        assert state.unfinished == sum(task not in FINAL_TASK_STATES for task in tasks)
        assert state.unhappy == (TaskState.FAILED in tasks)
        for node in dag.tasks:
            above = [tasks[one] for one in node.upstream]
            task = tasks[node.index]
            assert state.remaining[node.index] == sum(one is not TaskState.SUCCEEDED for one in above)
            if task in (TaskState.READY, TaskState.RUNNING, TaskState.SUCCEEDED, TaskState.FAILED):
                assert all(one is TaskState.SUCCEEDED for one in above)
            if task is TaskState.UPSTREAM_FAILED:
                assert TaskState.FAILED in above or TaskState.UPSTREAM_FAILED in above
            if task is TaskState.PENDING and state.phase is RunPhase.RUNNING:
                assert not all(one is TaskState.SUCCEEDED for one in above)


@given(dag=dags(), data=st.data())
@settings(max_examples=150, deadline=None)
def test_run_always_ends_and_says_how(dag: Dag, data: st.DataObject) -> None:
    play = Play(dag, data)
    steps = data.draw(st.integers(0, 15))
    while steps and play.step():
        steps -= 1

    # From here on whatever runs succeeds: nothing may keep the run open.
    state, into = play.state, []
    if state.phase is RunPhase.QUEUED:
        decide.start(state, 1, into)
    while state.phase not in FINAL_RUN_STATES:
        before = (state.unfinished, state.tasks.copy())
        for index, task in enumerate(state.tasks):
            if task in (TaskState.READY, TaskState.RETRYING):
                decide.start_task(state, index, 1, into)
            if state.tasks[index] is TaskState.RUNNING:
                decide.attempt_succeeded(state, index, b"1", 1, into)
        assert (state.unfinished, state.tasks) != before, "nothing can happen any more"

    assert not state.running
    assert not state.unfinished
    assert state.ended_at is not None
    if state.phase is RunPhase.SUCCEEDED:
        assert set(state.tasks) == {TaskState.SUCCEEDED}
    if state.phase is RunPhase.CANCELLED:
        assert TaskState.CANCELLED in state.tasks
        assert TaskState.FAILED not in state.tasks


@given(dag=dags(), data=st.data())
@settings(max_examples=150, deadline=None)
def test_cancel_at_any_point_ends_the_run_when_what_runs_has_stopped(dag: Dag, data: st.DataObject) -> None:
    play = Play(dag, data)
    steps = data.draw(st.integers(0, 20))
    while steps and play.step():
        steps -= 1
    state = play.state
    had_ended = state.phase in FINAL_RUN_STATES
    had_failed = TaskState.FAILED in state.tasks

    into: list[Record] = []
    if not state.cancelling:
        decide.cancel(state, "me", 5_000, into)
    assert all(task is TaskState.RUNNING or task in FINAL_TASK_STATES for task in state.tasks)
    for index, task in enumerate(list(state.tasks)):
        if task is TaskState.RUNNING:
            assert decide.start_task(state, index, 5_000, into) is None
            match data.draw(st.sampled_from(["stopped", "succeeded", "failed"])):
                case "stopped":
                    decide.attempt_cancelled(state, index, 5_000, into)
                case "succeeded":
                    decide.attempt_succeeded(state, index, b"1", 5_000, into)
                case _:
                    assert decide.attempt_failed(state, index, Failure("E", ""), 5_000, into) is None

    assert state.phase in FINAL_RUN_STATES
    assert state.running == 0
    if not had_ended:
        expected = RunPhase.FAILED if had_failed else RunPhase.CANCELLED
        assert state.phase is expected or set(state.tasks) == {TaskState.SUCCEEDED}
        assert not any(isinstance(record, TaskStarted) for record in into)
    assert sum(isinstance(record, TaskCancelled) for record in into) <= len(dag.tasks)
