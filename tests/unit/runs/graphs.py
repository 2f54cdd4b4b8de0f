"""DAGs for tests of the core: given as the tasks each task waits for, with nothing to call."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from hypothesis import strategies as st

from tidemill.dag.definition import Dag, TaskNode
from tidemill.dag.parameters import Parameters
from tidemill.dag.retry import Retry


async def _nothing() -> None:
    return None


def make_dag(upstream: Sequence[Sequence[int]], *, max_attempts: int = 1, output: Any = None) -> Dag:
    """Task i is called `t<i>` and waits for `upstream[i]`, all smaller than i."""
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
