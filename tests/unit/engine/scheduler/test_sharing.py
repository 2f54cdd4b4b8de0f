"""Fair shares: what each DAG has of a contended pool, and how far behind its share it can fall."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.engine.scheduler.scene import Scene, make_dag

from tidemill.dag.definition import Dag
from tidemill.engine.scheduler.pool import PoolLimit, Sharing


def used(scene: Scene) -> Counter[str]:
    return Counter({name.split("-")[0]: 0 for name in scene.running}) + Counter(
        {
            dag_id: sum(grant.slots for name, grant in scene.running.items() if name.startswith(dag_id + "-"))
            for dag_id in {name.split("-")[0] for name in scene.running}
        }
    )


def test_plain_dags_share_an_executor_alike() -> None:
    scene = Scene({"loop": 10})
    for dag_id, count in (("a", 100), ("b", 10), ("c", 100)):
        scene.queue(scene.run(make_dag(dag_id, *[{}] * count)))

    scene.start()

    assert sorted(used(scene).values()) == [3, 3, 4]


def test_weights_of_dags_decide_how_much_they_have() -> None:
    scene = Scene(pools={"etl": PoolLimit(slots=12)})
    for dag_id, weight in (("a", 1.0), ("b", 2.0), ("c", 3.0)):
        scene.queue(scene.run(make_dag(dag_id, *[{"pool": "etl"}] * 50, weight=weight)))

    scene.start()

    assert used(scene) == {"a": 2, "b": 4, "c": 6}


@pytest.mark.parametrize("seconds", [0.0, 5.0])
def test_single_slot_is_shared_over_time_by_weight(seconds: float) -> None:
    scene = Scene(pools={"one": PoolLimit(slots=1)})
    for dag_id, weight in (("a", 1.0), ("b", 3.0)):
        scene.queue(scene.run(make_dag(dag_id, *[{"pool": "one"}] * 100, weight=weight)))
    begun: Counter[str] = Counter()

    for _ in range(80):
        (name,) = scene.start()
        begun[name[0]] += 1
        scene.wait(seconds)
        scene.end()

    assert abs(begun["a"] - 20) <= 1


def test_single_slot_is_shared_by_time_and_not_by_starts() -> None:
    scene = Scene(pools={"one": PoolLimit(slots=1)})
    for dag_id in ("long", "short"):
        scene.queue(scene.run(make_dag(dag_id, *[{"pool": "one"}] * 300)))
    spent: Counter[str] = Counter()

    for _ in range(220):
        (name,) = scene.start()
        seconds = 100 if name.startswith("long") else 1
        scene.wait(seconds)
        scene.end()
        spent[name.split("-")[0]] += seconds

    assert abs(spent["long"] - spent["short"]) <= 101


def test_dag_that_comes_late_does_not_make_up_for_the_past() -> None:
    scene = Scene(pools={"one": PoolLimit(slots=1)})
    first = scene.run(make_dag("first", *[{"pool": "one"}] * 100))
    scene.queue(first)
    scene.queue(scene.run(make_dag("other", *[{"pool": "one"}] * 100)))
    for _ in range(60):
        scene.start()
        scene.wait(10)
        scene.end()
    scene.queue(scene.run(make_dag("late", *[{"pool": "one"}] * 100)))
    begun: Counter[str] = Counter(first=0, other=0, late=0)

    for _ in range(30):
        (name,) = scene.start()
        begun[name.split("-")[0]] += 1
        scene.wait(10)
        scene.end()

    assert max(begun.values()) - min(begun.values()) <= 1


def test_keys_share_what_their_dag_has() -> None:
    scene = Scene(pools={"etl": PoolLimit(slots=8, sharing=Sharing.KEY)})
    made = make_dag("a", *[{"pool": "etl"}] * 20)
    for key in ("x", "x", "x", "y"):
        scene.queue(scene.run(made, key=key))
    scene.queue(scene.run(make_dag("b", *[{"pool": "etl"}] * 20)))

    scene.start()

    of_run = Counter(name.split("/")[0] for name in scene.running)
    assert used(scene) == {"a": 4, "b": 4}
    assert of_run["a-4"] == 2
    scene.end()
    for live_slots in (8,) * 100:
        scene.start(live_slots)
        scene.end()
    assert scene.is_idle()
    assert all(len(path) == 1 for pool in scene.scheduler.pools("etl") for path in pool.accounts)


def test_pool_shared_among_nobody_has_one_order_for_all() -> None:
    scene = Scene(pools={"one": PoolLimit(slots=1, sharing=Sharing.NONE)})
    scene.queue(scene.run(make_dag("low", *[{"pool": "one", "priority": 1}] * 3)))
    scene.queue(scene.run(make_dag("high", *[{"pool": "one", "priority": 2}] * 3)))
    order = []

    while started := scene.start():
        order += [name.split("-")[0] for name in started]
        scene.end()

    assert order == ["high"] * 3 + ["low"] * 3


def test_pools_share_an_executor_by_their_weights() -> None:
    scene = Scene({"loop": 8}, pools={"etl": PoolLimit(slots=100, weight=3.0)})
    scene.queue(scene.run(make_dag("plain", *[{}] * 50)))
    scene.queue(scene.run(make_dag("pooled", *[{"pool": "etl"}] * 50)))

    scene.start()

    assert used(scene) == {"plain": 2, "pooled": 6}


SHARERS = st.lists(
    st.tuples(st.sampled_from([1.0, 2.0, 5.0]), st.lists(st.integers(1, 3), min_size=5, max_size=20)),
    min_size=2,
    max_size=4,
)


@settings(max_examples=60)
@given(sharers=SHARERS, slots=st.integers(3, 12), seed=st.randoms(use_true_random=False))
def test_no_dag_is_behind_another_by_more_than_its_largest_task(
    sharers: list[tuple[float, list[int]]], slots: int, seed: object
) -> None:
    """At each start while both wait: the one that starts had least for its weight among those that fit."""
    scene = Scene(pools={"etl": PoolLimit(slots=slots)}, max_overtakings=1000)
    weights, waiting = {}, {}
    for number, (weight, sizes) in enumerate(sharers):
        made: Dag = make_dag(
            f"d{number}", *[{"pool": "etl", "pool_slots": size} for size in sizes], weight=weight
        )
        live = scene.run(made)
        scene.queue(live)
        weights[f"d{number}"] = weight
        waiting[f"d{number}"] = list(sizes)

    while any(waiting.values()):
        before = used(scene)
        free = slots - sum(before.values())
        started = scene.start(1)
        if started:
            name = started[0]
            dag_id = name.split("-")[0]
            waiting[dag_id].remove(scene.running[name].slots)
            share = before[dag_id] / weights[dag_id]
            for other, sizes in waiting.items():
                if other != dag_id and any(size <= free for size in sizes):
                    assert share <= before[other] / weights[other]
        else:
            scene.wait(seed.random())  # type: ignore[attr-defined]
            scene.end(seed.choice(sorted(scene.running)))  # type: ignore[attr-defined]
    scene.end()

    assert scene.is_idle()


def test_weight_of_a_new_version_holds_from_its_first_run_on() -> None:
    scene = Scene({"loop": 9})
    scene.queue(scene.run(make_dag("a", *[{}] * 50)))
    scene.queue(scene.run(make_dag("b", *[{}] * 50)))
    scene.start()
    newer = make_dag("b", *[{}] * 50, {"retries": 1}, weight=2.0)
    scene.queue(scene.run(newer))

    for _ in range(20):
        scene.end(next(iter(scene.running)))
        scene.start()

    assert used(scene) == {"a": 3, "b": 6}
