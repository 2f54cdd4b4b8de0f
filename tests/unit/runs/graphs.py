"""DAGs for tests of the core: given as the tasks each task waits for, with nothing to call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from hypothesis import strategies as st

from tidemill.dag.binding import ResultRef
from tidemill.dag.definition import Dag, MapSpec, NodeKind, TaskNode
from tidemill.dag.edges import Condition, Edge, EdgeKind
from tidemill.dag.parameters import Parameters
from tidemill.dag.policy import TaskPolicy, TriggerRule
from tidemill.dag.retry import Retry
from tidemill.runs import decide
from tidemill.runs.records import Record
from tidemill.runs.reuse import How, Reused
from tidemill.runs.state import RunState


async def _nothing() -> None:
    return None


def make_dag(
    upstream: Sequence[Sequence[int]],
    *,
    max_attempts: int = 1,
    output: Any = None,
    changes: Mapping[int, Mapping[str, Any]] | None = None,
) -> Dag:
    """Task i is called `t<i>` and waits for `upstream[i]`, all smaller than i; `changes` are of single nodes."""
    downstream: list[list[int]] = [[] for _ in upstream]
    for index, above in enumerate(upstream):
        for one in above:
            downstream[one].append(index)
    retry = Retry(max_attempts=max_attempts, delay=timedelta(seconds=1), jitter=0)
    tasks = tuple(
        TaskNode(
            task_id=f"t{index}",
            index=index,
            function=_nothing,
            is_coroutine=True,
            executor="loop",
            context_parameter=None,
            args=(),
            kwargs={},
            has_references=False,
            upstream=tuple(above),
            downstream=tuple(downstream[index]),
            retry=retry,
            **(changes or {}).get(index, {}),
        )
        for index, above in enumerate(upstream)
    )
    return Dag(
        dag_id="d",
        version="v",
        tasks=tasks,
        index={node.task_id: node.index for node in tasks},
        roots=tuple(node.index for node in tasks if not node.upstream),
        output=output,
        parameters=Parameters(),
    )


@st.composite
def dags(draw: st.DrawFn, *, max_tasks: int = 7) -> Dag:
    """Any DAG of up to `max_tasks` tasks with up to three attempts each."""
    count = draw(st.integers(1, max_tasks))
    upstream = [sorted(draw(st.sets(st.integers(0, i - 1), max_size=3))) if i else [] for i in range(count)]
    return make_dag(upstream, max_attempts=draw(st.integers(1, 3)))


@st.composite
def unfolding_dags(draw: st.DrawFn, *, max_tasks: int = 7) -> Dag:
    """DAGs with every rule, kind of edge, branch, map, teardown and callback, in any combination."""
    count = draw(st.integers(2, max_tasks))
    upstream = [sorted(draw(st.sets(st.integers(0, i - 1), max_size=3))) if i else [] for i in range(count)]
    return make_dag(
        upstream,
        max_attempts=draw(st.integers(1, 3)),
        changes={index: draw(_changes(upstream[index])) for index in range(count)},
    )


@st.composite
def _changes(draw: st.DrawFn, above: Sequence[int]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    match draw(st.sampled_from(["plain", "plain", "rule", "edges", "map", "teardown", "fate"])):
        case "rule":
            found["rule"] = draw(st.sampled_from(TriggerRule))
        case "edges" if above:
            kinds = draw(st.dictionaries(st.sampled_from(above), st.sampled_from(EdgeKind), min_size=1))
            found["edges"] = {
                one: Edge(kind, Condition(values=(1, 2, 3)) if kind is EdgeKind.CONDITION else None)
                for one, kind in kinds.items()
                if kind is not EdgeKind.SUCCESS
            }
            found["rule"] = draw(st.sampled_from(TriggerRule))
        case "map":
            source: Any = list(range(draw(st.integers(0, 4))))
            if above and draw(st.booleans()):
                source = ResultRef(above[0])
            found["mapped"] = MapSpec(
                values=(("x", source),),
                is_product=True,
                min_success=draw(st.sampled_from([None, 0, 1, 0.5, 1.0])),
            )
            found["policy"] = TaskPolicy(max_active_per_run=draw(st.sampled_from([None, 1, 2])))
        case "teardown":
            setups = draw(st.sets(st.sampled_from(above))) if above else set()
            found.update(is_teardown=True, setups=tuple(sorted(setups)), decides=False)
        case "fate":
            found.update(fate=draw(st.sampled_from(["failure", "success"])), decides=False)
        case _:
            found["kind"] = draw(
                st.sampled_from([NodeKind.TASK, NodeKind.TASK, NodeKind.BRANCH, NodeKind.SHORT_CIRCUIT])
            )
    return found


def give(state: RunState, results: Mapping[str, bytes], into: list[Record], *, at: int = 0) -> None:
    """Give ready tasks, and those that get ready by it, results that an earlier run has."""
    while True:
        index = next((one for one in state.ready if state.name(one) in results), None)
        if index is None:
            return
        state.ready.remove(index)
        assert decide.give(state, index, Reused(results[state.name(index)], How.CARRIED, "earlier"), at, into)
