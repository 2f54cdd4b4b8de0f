"""Nothing is oversubscribed, nothing that fits waits for what does not, and nothing starves."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.engine.scheduler.scene import Scene, make_dag

from tidemill.engine.scheduler.amounts import UNIT, Stock
from tidemill.engine.scheduler.pool import PoolLimit


def test_small_tasks_pass_a_big_one_that_does_not_fit_now() -> None:
    scene = Scene(stock={"cpu": 4})
    scene.queue(scene.run(make_dag("small", *[{"cpu": 1}] * 4)), 0)
    scene.start()
    scene.queue(scene.run(make_dag("big", {"cpu": 4})))
    scene.queue(scene.run(make_dag("later", *[{"cpu": 1}] * 3)))

    started = scene.start()

    assert [name.split("-")[0] for name in started] == ["later"] * 3


@pytest.mark.parametrize("most", [1, 5, 64])
def test_big_task_is_overtaken_a_bounded_number_of_times(most: int) -> None:
    scene = Scene(stock={"cpu": 4}, max_overtakings=most)
    stream = make_dag("small", *[{"cpu": 1}] * 1000)
    small = scene.run(stream)
    scene.queue(small)
    scene.start()
    big = scene.run(make_dag("big", {"cpu": 4}))
    scene.queue(big)
    overtaken = 0

    while not any(name.startswith("big") for name in scene.running):
        scene.end(next(iter(scene.running)))
        overtaken += len(scene.start())
        assert overtaken <= most + 4

    assert overtaken - 1 <= most


def test_reservation_holds_back_only_what_contends() -> None:
    scene = Scene({"loop": 100}, stock={"cpu": 2, "license": 1}, max_overtakings=1)
    small = scene.run(make_dag("small", *[{"cpu": 1}] * 50))
    scene.queue(small)
    scene.start()
    scene.queue(scene.run(make_dag("big", {"cpu": 2})))
    scene.end(next(iter(scene.running)))
    scene.start()  # overtakes once: from now on the processors are kept
    scene.queue(scene.run(make_dag("other", {"resources": {"license": 1}}, {})))
    scene.end(next(iter(scene.running)))

    started = scene.start()

    assert {name.split("-")[0] for name in started} == {"other"}


def test_cancelled_task_holds_no_reservation() -> None:
    scene = Scene(stock={"cpu": 2}, max_overtakings=1)
    scene.queue(scene.run(make_dag("small", *[{"cpu": 1}] * 50)))
    scene.start()
    big = scene.run(make_dag("big", {"cpu": 2}))
    scene.queue(big)
    scene.end(next(iter(scene.running)))
    scene.start()
    scene.scheduler.leave(big)
    scene.end(next(iter(scene.running)))

    assert len(scene.start()) == 1


def test_paused_pool_reserves_nothing_and_goes_on_when_it_has_slots() -> None:
    scene = Scene(pools={"etl": PoolLimit(slots=0)}, max_overtakings=1)
    scene.queue(scene.run(make_dag("paused", *[{"pool": "etl"}] * 3)))
    scene.queue(scene.run(make_dag("plain", *[{}] * 30)))

    assert len(scene.start()) == 30
    scene.scheduler.set_limit("etl", PoolLimit(slots=2))
    assert len(scene.start()) == 2


def test_smaller_pool_takes_nothing_new_until_enough_has_ended() -> None:
    scene = Scene(pools={"etl": PoolLimit(slots=4)})
    scene.queue(scene.run(make_dag("work", *[{"pool": "etl"}] * 10)))
    first = scene.start()
    scene.scheduler.set_limit("etl", PoolLimit(slots=2))

    scene.end(*first[:2])
    assert scene.start() == []
    scene.end(first[2])
    assert len(scene.start()) == 1


def test_pool_that_became_too_small_dooms_what_waits_for_more() -> None:
    scene = Scene(pools={"etl": PoolLimit(slots=4)})
    scene.queue(scene.run(make_dag("work", {"pool": "etl"}, *[{"pool": "etl", "pool_slots": 3}] * 2)))

    scene.scheduler.set_limit("etl", PoolLimit(slots=2))

    assert [reason for _, reason in scene.scheduler.doomed] == ["asks 3 slots of pool etl, which has 2"] * 2
    assert len(scene.start()) == 1


def test_shares_of_a_device_are_placed_where_least_is_left_over() -> None:
    stock = Stock({"gpu": 2})
    half, third = (("gpu", UNIT // 2),), (("gpu", 3 * UNIT // 10),)

    placed = [stock.take(half).devices, stock.take(third).devices, stock.take(half).devices]

    assert [devices[0][0] for devices in placed] == [0, 0, 1]
    assert not stock.fits((("gpu", 6 * UNIT // 10),))
    assert not stock.fits((("gpu", UNIT),))


def test_three_shares_that_no_two_devices_can_hold_do_not_fit() -> None:
    scene = Scene(stock={"gpu": 2})
    scene.queue(scene.run(make_dag("work", *[{"gpu": 0.6}] * 3)))

    assert len(scene.start()) == 2


def test_what_can_never_fit_is_told_with_the_numbers() -> None:
    scene = Scene(stock={"cpu": 2}, pools={"etl": PoolLimit(slots=3)})
    live = scene.run(make_dag("work", {"cpu": 64}, {"pool": "etl", "pool_slots": 4}, {"pool": "none"}))
    asks = live.standing.plan.asks

    assert [scene.scheduler.lacks(ask) for ask in asks] == [
        "asks cpu 64, this machine has 2",
        "asks 4 slots of pool etl, which has 3",
        "asks pool none, which is not there",
    ]


def test_max_active_counts_over_runs_and_per_run_within_one() -> None:
    scene = Scene()
    both = make_dag("both", *[{"max_active": 3}] * 1)
    for _ in range(10):
        scene.queue(scene.run(both))
    assert len(scene.start()) == 3
    scene.end()

    assert len(scene.start()) == 3
    assert scene.scheduler.waiting == 4


def test_limit_passes_its_place_on_when_the_next_one_is_gone() -> None:
    scene = Scene()
    made = make_dag("work", {"max_active": 1})
    runs = [scene.run(made) for _ in range(4)]
    for live in runs:
        scene.queue(live)
    scene.start()

    scene.scheduler.leave(runs[1])
    scene.end()
    assert scene.start() == ["work-3/t0"]
    runs[3].dropped = True
    scene.end()
    scene.start()
    assert scene.is_idle()


EVENTS = st.lists(
    st.tuples(st.sampled_from(["queue", "start", "end", "leave", "limit", "wait"]), st.integers(0, 1000)),
    max_size=80,
)
OPTIONS: list[dict[str, Any]] = [
    {},
    {"priority": 3},
    {"pool": "etl"},
    {"pool": "etl", "pool_slots": 3},
    {"cpu": 1, "memory": 100},
    {"cpu": 3.5},
    {"gpu": 0.5},
    {"gpu": 2},
    {"max_active": 2},
    {"max_active_per_run": 1, "pool": "etl", "cpu": 0.5},
    {"resources": {"license": 1}},
]


@settings(max_examples=150)
@given(events=EVENTS, shuffled=st.randoms(use_true_random=False))
def test_nothing_is_oversubscribed_and_all_comes_back(
    events: list[tuple[str, int]], shuffled: random.Random
) -> None:
    """Against a model that counts: whatever happens, no limit is passed; when nothing runs, all is back."""
    total = {"cpu": 4.0, "memory": 250.0, "gpu": 2.0, "license": 1.0}
    scene = Scene({"loop": 6}, stock=total, pools={"etl": PoolLimit(slots=4)}, max_overtakings=3)
    dags = [make_dag(f"d{n}", *shuffled.sample(OPTIONS, 6)) for n in range(3)]
    live = []
    slots = 4

    def check() -> None:
        stock, pool = scene.scheduler.stock, scene.scheduler.pools("etl")
        assert all(stock.used[name] <= total[name] for name in total)
        assert len(scene.running) <= 6
        by_task: dict[tuple[str, str], int] = {}
        for name in scene.running:
            run, task = name.split("/")
            node = next(one.dag for one in everything if one.run_id == run).tasks[int(task[1:])]
            key = (run.split("-")[0], task)
            by_task[key] = by_task.get(key, 0) + 1
            assert by_task[key] <= (node.policy.max_active or 1000)
        if pool:
            taken = sum(grant.slots for grant in scene.running.values() if grant.pool is pool[0])
            assert pool[0].used == taken

    everything = []
    for event, number in events:
        if event == "queue":
            run = scene.run(dags[number % 3])
            live.append(run)
            everything.append(run)
            scene.queue(run)
        elif event == "start":
            before = sum(grant.slots for grant in scene.running.values() if grant.pool.name == "etl")
            scene.start(number % 5 + 1)
            after = sum(grant.slots for grant in scene.running.values() if grant.pool.name == "etl")
            assert after <= max(slots, before)
        elif event == "end" and scene.running:
            scene.end(sorted(scene.running)[number % len(scene.running)])
        elif event == "leave" and live:
            gone = live.pop(number % len(live))
            scene.scheduler.leave(gone)
            gone.dropped = number % 2 == 0
        elif event == "limit":
            slots = number % 6
            scene.scheduler.set_limit("etl", PoolLimit(slots=slots))
            for ticket, _ in scene.scheduler.doomed:
                scene.scheduler.close(ticket)
            scene.scheduler.doomed.clear()
        elif event == "wait":
            scene.wait(number)
        check()
    scene.scheduler.set_limit("etl", PoolLimit(slots=4))

    for _ in range(2000):
        scene.end()
        if not scene.start():
            break
        check()
    waiting = [ticket for run in everything for ticket in run.standing.tickets.values()]
    assert not [ticket for ticket in waiting if ticket.is_waiting]
    for run in everything:
        run.dropped = True
    scene.start()
    assert scene.is_idle()


@settings(max_examples=40)
@given(
    big=st.lists(st.integers(2, 4), min_size=1, max_size=5),
    most=st.integers(1, 8),
    order=st.randoms(use_true_random=False),
)
def test_no_task_starves_in_a_stream_that_never_ends(big: list[int], most: int, order: random.Random) -> None:
    """Each lane is overtaken at most `most` times between two starts of it, and waits for the lanes reserved before."""
    scene = Scene(stock={"cpu": 4}, max_overtakings=most)
    stream = make_dag("small", *[{"cpu": 1}] * 8)
    scene.queue(scene.run(stream))
    scene.start()
    for size in big:
        scene.queue(scene.run(make_dag(f"big{size}", {"cpu": size})))
    waiting, overtaken = len(big), 0

    while waiting:
        scene.queue(scene.run(stream), 0)
        scene.end(order.choice(sorted(scene.running)))
        started = scene.start()
        waiting -= sum(name.startswith("big") for name in started)
        overtaken += sum(name.startswith("small") for name in started)
        assert overtaken <= len(big) * (most + 8)
