"""Order and cycles."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tidemill.dag.graph import find_cycle, sort_topologically


@st.composite
def _graphs(draw: st.DrawFn) -> list[set[int]]:
    size = draw(st.integers(0, 12))
    return [draw(st.sets(st.integers(0, size - 1), max_size=3)) for _ in range(size)]


@st.composite
def _acyclic(draw: st.DrawFn) -> list[set[int]]:
    size = draw(st.integers(0, 15))
    names = draw(st.permutations(range(size)))
    upstream: list[set[int]] = [set() for _ in range(size)]
    for place, name in enumerate(names):
        if place:
            upstream[name] = {names[one] for one in draw(st.sets(st.integers(0, place - 1), max_size=4))}
    return upstream


@given(_acyclic())
def test_order_puts_every_task_after_its_upstream_once(upstream: list[set[int]]) -> None:
    order = sort_topologically(upstream)

    assert order is not None
    assert sorted(order) == list(range(len(upstream)))
    place = {index: at for at, index in enumerate(order)}
    assert all(place[source] < place[index] for index, found in enumerate(upstream) for source in found)
    assert find_cycle(upstream) is None


@given(_graphs())
def test_a_graph_has_either_an_order_or_a_real_cycle(upstream: list[set[int]]) -> None:
    order = sort_topologically(upstream)
    cycle = find_cycle(upstream)

    assert (order is None) == (cycle is not None)
    if cycle is not None:
        assert cycle[0] == cycle[-1]
        assert len(set(cycle[1:])) == len(cycle) - 1 > 0
        assert all(before in upstream[after] for before, after in pairwise(cycle))


def test_ties_keep_the_order_of_definition() -> None:
    assert sort_topologically([[], [3], [], []]) == [0, 2, 3, 1]
    assert sort_topologically([[2], [], []]) == [1, 2, 0]


def test_a_chain_of_a_hundred_thousand_does_not_exhaust_the_stack() -> None:
    chain: list[list[int]] = [[], *([one] for one in range(100_000))]

    assert find_cycle(chain) is None
    assert find_cycle([[100_000], *chain[1:]]) is not None
