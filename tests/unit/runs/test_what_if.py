"""List scheduling without running anything: never below the bound, never idle, exact on what can be counted by hand."""

from __future__ import annotations

import itertools
import random

import pytest
from benchmarks.shapes import GENERATED, PUBLISHED
from hypothesis import given
from hypothesis import strategies as st

from tidemill.dag.critical_path import longest_paths
from tidemill.runs.what_if import Order, Plan, Work, changed, lower_bound, simulate


@st.composite
def works(draw: st.DrawFn, *, max_tasks: int = 6) -> Work:
    count = draw(st.integers(1, max_tasks))
    upstream = [sorted(draw(st.sets(st.integers(0, i - 1), max_size=3))) if i else [] for i in range(count)]
    durations = [float(draw(st.integers(0, 9))) for _ in range(count)]
    copies = draw(st.dictionaries(st.integers(0, count - 1), st.integers(0, 5), max_size=2))
    limit = draw(st.one_of(st.none(), st.integers(1, 3)))
    begins = float(draw(st.integers(0, 5)))
    return Work(upstream=upstream, durations=durations, copies=copies, limit=limit, begins=begins)


def busy_at(work: Work, plan: Plan, graph: int, at: float) -> int:
    """Single tasks of a graph that run at a time (maps are left out)."""
    return sum(
        start <= at < start + seconds
        for start, seconds in zip(plan.starts[graph], work.durations, strict=True)
    )


@given(st.lists(works(), min_size=1, max_size=3), st.integers(1, 4), st.sampled_from(Order))
def test_makespan_is_never_below_the_lower_bound_and_within_the_work_in_a_row(
    given_works: list[Work], slots: int, order: Order
) -> None:
    # A map of no task runs takes no time: the bound's longest way counts it as one.
    given_works = [
        Work(upstream=w.upstream, durations=[s * (w.copies.get(i, 1) > 0) for i, s in enumerate(w.durations)],
             copies={i: c for i, c in w.copies.items() if c}, limit=w.limit, begins=w.begins)
        for w in given_works
    ]  # fmt: skip

    plan = simulate(given_works, slots, order=order)

    in_a_row = sum(seconds * w.copies.get(i, 1) for w in given_works for i, seconds in enumerate(w.durations))
    assert plan.makespan >= lower_bound(given_works, slots) - 1e-9
    assert plan.makespan <= max(w.begins for w in given_works) + in_a_row + 1e-9


@given(st.lists(works(), min_size=1, max_size=2), st.integers(1, 3), st.sampled_from(Order))
def test_nothing_starts_before_what_it_waits_for_and_never_more_than_there_are_slots(
    given_works: list[Work], slots: int, order: Order
) -> None:
    single = [Work(upstream=w.upstream, durations=w.durations, limit=w.limit) for w in given_works]

    plan = simulate(single, slots, order=order)

    for graph, work in enumerate(single):
        for index, above in enumerate(work.upstream):
            assert all(plan.ends[graph][one] <= plan.starts[graph][index] for one in above)
            assert plan.ends[graph][index] == plan.starts[graph][index] + work.durations[index]
    for at in {start for starts in plan.starts for start in starts}:
        busy = [busy_at(work, plan, graph, at) for graph, work in enumerate(single)]
        assert sum(busy) <= slots
        assert all(
            work.limit is None or count <= work.limit for work, count in zip(single, busy, strict=True)
        )


@given(works(), st.sampled_from(Order))
def test_with_a_slot_for_everything_it_is_the_longest_way(work: Work, order: Order) -> None:
    free = Work(upstream=work.upstream, durations=work.durations)

    assert simulate([free], 100, order=order).makespan == longest_paths(free.upstream, free.durations).length


@given(works(max_tasks=5), st.integers(1, 2))
def test_rank_order_is_within_twice_the_best_of_all_orders(work: Work, slots: int) -> None:
    single = Work(upstream=work.upstream, durations=work.durations)

    best = min(
        _in_order(single, slots, order) for order in itertools.permutations(range(len(single.durations)))
    )

    assert best - 1e-9 <= simulate([single], slots).makespan <= best * (2 - 1 / slots) + 1e-9


def _in_order(work: Work, slots: int, order: tuple[int, ...]) -> float:
    """Greedy list scheduling with this list, the plain way."""
    free, ends = [0.0] * slots, dict[int, float]()
    waiting, now = list(order), 0.0
    while waiting:
        ready = [i for i in waiting if all(ends.get(one, 1e9) <= now for one in work.upstream[i])]
        slot = min(range(slots), key=lambda one: free[one])
        if ready and (free[slot] <= now or not work.durations[ready[0]]):
            waiting.remove(ready[0])
            ends[ready[0]] = now + work.durations[ready[0]]
            if work.durations[ready[0]]:
                free[slot] = ends[ready[0]]
            continue
        now = min(at for at in [*free, *ends.values()] if at > now)
    return max(ends.values())


def test_the_long_way_goes_first_by_rank() -> None:
    # Three short tasks are ready before the one that a long way depends on.
    work = Work(upstream=[[], [], [], [], [3]], durations=[4.0, 4.0, 4.0, 4.0, 12.0])

    assert simulate([work], 2, order=Order.FIFO).makespan == 20
    assert simulate([work], 2, order=Order.RANK).makespan == 16


def test_an_older_run_is_overtaken_for_no_longer_than_its_own_way() -> None:
    old = Work(upstream=[[]], durations=[5.0], begins=0.0)
    young = [Work(upstream=[[], [0]], durations=[1.0, 10.0], begins=float(n)) for n in range(1, 30)]

    plan = simulate([Work(upstream=[[]], durations=[1.0]), old, *young], 1)

    assert plan.starts[1][0] <= 120


def test_a_map_takes_as_many_turns_as_its_slots_ask_for() -> None:
    work = Work(upstream=[[], [0]], durations=[1.0, 2.0], copies={1: 10})

    assert simulate([work], 4).makespan == 1 + 3 * 2
    assert simulate([work], 100).makespan == 3


def test_a_map_of_nothing_lets_the_next_go_on() -> None:
    work = Work(upstream=[[], [0]], durations=[5.0, 1.0], copies={0: 0})

    assert simulate([work], 1).makespan == 1


def test_many_tasks_that_take_no_time_are_no_deep_recursion() -> None:
    work = Work(upstream=[[n - 1] if n else [] for n in range(5000)], durations=[0.0] * 5000)

    assert simulate([work], 1).makespan == 0


def test_changed_work_is_without_and_faster() -> None:
    work = Work(upstream=[[], [0], [1]], durations=[1.0, 8.0, 1.0])
    index = {"a": 0, "b": 1, "c": 2}

    assert simulate([changed(work, index, without=["b"])], 1).makespan == 2
    assert simulate([changed(work, index, faster={"b": 0.5})], 1).makespan == 6
    with pytest.raises(KeyError):
        changed(work, index, without=["d"])


@pytest.mark.parametrize("family", sorted({**GENERATED, **PUBLISHED}))
def test_rank_order_is_no_worse_than_fifo_on_average_and_near_the_bound(family: str) -> None:
    make = {**GENERATED, **PUBLISHED}[family]
    gains, bounds = [], []
    for slots, seed in itertools.product((2, 4, 8, 16), range(5)):
        chance = random.Random(f"{family} {slots} {seed}")
        shapes = [make(chance) for _ in range(4)]
        sets = [Work(upstream=one.upstream, durations=one.seconds) for one in shapes]
        rank, fifo = (simulate(sets, slots, order=order).makespan for order in (Order.RANK, Order.FIFO))
        gains.append(1 - rank / fifo)
        bounds.append(rank / lower_bound(sets, slots))

    assert sum(gains) / len(gains) >= 0
    assert sum(bounds) / len(bounds) <= 1.3
