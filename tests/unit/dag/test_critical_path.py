"""Ranks, slack and critical path, against every way through small graphs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.runs.graphs import make_dag

from tidemill.dag.critical_path import longest_paths, rank, upward_rank

Graph = tuple[list[list[int]], list[float]]


@st.composite
def graphs(draw: st.DrawFn, *, max_tasks: int = 7) -> Graph:
    count = draw(st.integers(1, max_tasks))
    upstream = [sorted(draw(st.sets(st.integers(0, i - 1), max_size=3))) if i else [] for i in range(count)]
    durations = [float(draw(st.integers(0, 9))) for _ in range(count)]
    return upstream, durations


def downstream_of(upstream: list[list[int]]) -> list[list[int]]:
    below: list[list[int]] = [[] for _ in upstream]
    for index, above in enumerate(upstream):
        for one in above:
            below[one].append(index)
    return below


def ways_from(index: int, below: list[list[int]]) -> list[list[int]]:
    """Every way from a task to an end."""
    if not below[index]:
        return [[index]]
    return [[index, *way] for one in below[index] for way in ways_from(one, below)]


def longest(graph: Graph) -> float:
    upstream, durations = graph
    below = downstream_of(upstream)
    return max(
        sum(durations[one] for one in way)
        for index, above in enumerate(upstream)
        if not above
        for way in ways_from(index, below)
    )


@given(graphs())
def test_rank_is_the_longest_of_all_ways_to_the_end(graph: Graph) -> None:
    upstream, durations = graph
    below = downstream_of(upstream)

    ranks = upward_rank(below, durations)

    for index, found in enumerate(ranks):
        assert found == max(sum(durations[one] for one in way) for way in ways_from(index, below))


@given(graphs())
def test_rank_of_a_dag_is_that_of_its_graph(graph: Graph) -> None:
    upstream, durations = graph

    assert rank(make_dag(upstream), durations) == upward_rank(downstream_of(upstream), durations)


@given(graphs())
def test_length_is_the_longest_way_and_the_critical_path_is_one_of_them(graph: Graph) -> None:
    upstream, durations = graph

    paths = longest_paths(upstream, durations)

    assert paths.length == longest(graph)
    assert sum(durations[one] for one in paths.critical) == paths.length
    for before, after in zip(paths.critical, paths.critical[1:], strict=False):
        assert before in upstream[after]
    assert not upstream[paths.critical[0]]


@given(graphs(), st.data())
def test_slack_is_exactly_what_a_task_may_take_longer(graph: Graph, data: st.DataObject) -> None:
    upstream, durations = graph
    paths = longest_paths(upstream, durations)
    index = data.draw(st.integers(0, len(durations) - 1))

    def length_with(more: float) -> float:
        return longest((upstream, [one + more * (at == index) for at, one in enumerate(durations)]))

    assert length_with(paths.slack[index]) == paths.length
    assert length_with(paths.slack[index] + 1) == paths.length + 1
    assert all(paths.slack[one] == 0 for one in paths.critical)


def test_a_task_that_is_held_back_begins_the_critical_path() -> None:
    paths = longest_paths([[], [0]], [1.0, 2.0], not_before=[0.0, 10.0])

    assert paths.length == 12
    assert paths.critical == [1]
    assert paths.slack[0] == pytest.approx(9)


def test_ten_thousand_tasks_in_a_row_are_no_deeper_than_one() -> None:
    upstream = [[index - 1] if index else [] for index in range(10_000)]

    assert longest_paths(upstream, [1.0] * 10_000).length == 10_000


def test_nothing_has_no_length() -> None:
    paths = longest_paths([], [])

    assert paths.length == 0
    assert paths.critical == []
