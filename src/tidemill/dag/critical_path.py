"""The longest way through a graph: ranks, slack, the critical path. Pure, linear in edges.

Tasks are numbered in topological order (every upstream task has a smaller number), as in `Dag.tasks`. Durations are
seconds and never negative.

1. The *upward rank* of a task is the longest expected time from its start to the end of the graph.
2. A task's *slack* is how much longer it could take, or later it could start, without the end being later.
3. The *critical path* is a way from the beginning to the end whose tasks have no slack; ties go to the smaller number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tidemill.dag.definition import Dag

__all__ = ["Paths", "longest_paths", "rank", "upward_rank"]


@dataclass(frozen=True, slots=True)
class Paths:
    """When each task starts at the earliest and at the latest, and what decides the end."""

    #: Seconds from the beginning to the end with room for everything that can go on at once.
    length: float
    starts: Sequence[float]
    slack: Sequence[float]
    #: Numbers of the tasks of the critical path, in order.
    critical: Sequence[int]


def rank(dag: Dag, durations: Sequence[float]) -> list[float]:
    """Upward rank of each task of a DAG."""
    return upward_rank([node.downstream for node in dag.tasks], durations)


def upward_rank(downstream: Sequence[Sequence[int]], durations: Sequence[float]) -> list[float]:
    """The longest way from the start of each task to the end, itself included."""
    ranks = list(durations)
    for index in range(len(ranks) - 1, -1, -1):
        longest = 0.0
        for below in downstream[index]:
            if ranks[below] > longest:
                longest = ranks[below]
        ranks[index] += longest
    return ranks


def longest_paths(
    upstream: Sequence[Sequence[int]],
    durations: Sequence[float],
    *,
    not_before: Sequence[float] | None = None,
) -> Paths:
    """Earliest starts, slack and critical path; `not_before` holds back tasks beyond what they wait for."""
    starts = [0.0] * len(durations)
    ends = [0.0] * len(durations)
    for index, above in enumerate(upstream):
        start = 0.0 if not_before is None else not_before[index]
        for one in above:
            if ends[one] > start:
                start = ends[one]
        starts[index], ends[index] = start, start + durations[index]
    length = max(ends, default=0.0)
    latest = [length] * len(durations)
    for index in range(len(durations) - 1, -1, -1):
        begin = latest[index] - durations[index]
        for one in upstream[index]:
            if begin < latest[one]:
                latest[one] = begin
    slack = [max(0.0, end - ends[index]) for index, end in enumerate(latest)]
    return Paths(length, starts, slack, _critical(upstream, starts, ends))


def _critical(upstream: Sequence[Sequence[int]], starts: Sequence[float], ends: Sequence[float]) -> list[int]:
    """Back from the task that ends last, to whichever ended last before it each time."""
    if not ends:
        return []
    path = [max(range(len(ends)), key=lambda one: (ends[one], -one))]
    while above := upstream[path[-1]]:
        before = max(above, key=lambda one: (ends[one], -one))
        if ends[before] < starts[path[-1]]:
            break  # something else held it back
        path.append(before)
    return path[::-1]
