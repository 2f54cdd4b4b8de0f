"""In which order tasks start: priority, age, rank, and the order in which they became ready."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.engine.scheduler.scene import Scene, make_dag

from tidemill import dag, task
from tidemill.dag.build import build
from tidemill.dag.definition import Dag
from tidemill.dag.policy import WeightRule
from tidemill.engine.live import LiveRun
from tidemill.engine.scheduler.ask import asks_of, priorities_of


def names(started: list[str]) -> list[str]:
    return [name.split("/")[1] for name in started]


def one_by_one(scene: Scene) -> list[str]:
    order = []
    while started := scene.start(1):
        order += started
        scene.end(*started)
    return names(order)


def test_tasks_without_wishes_start_in_the_order_of_readiness() -> None:
    scene = Scene({"loop": 1})
    live = scene.run(make_dag("work", *[{}] * 20))

    scene.queue(live)

    assert one_by_one(scene) == [f"t{n}" for n in range(20)]


def test_tasks_of_higher_priority_start_first_and_equals_in_order() -> None:
    scene = Scene({"loop": 1})
    live = scene.run(
        make_dag("work", {}, {"priority": 5}, {}, {"priority": 9}, {"priority": 5}, {"priority": -1})
    )

    scene.queue(live)

    assert one_by_one(scene) == ["t3", "t1", "t4", "t0", "t2", "t5"]


def test_rank_decides_among_equals_and_not_against_priority() -> None:
    scene = Scene({"loop": 1})
    live = scene.run(make_dag("work", {}, {}, {"priority": 1}, {}))
    ranks = [1.0, 7.0, 0.0, 7.0]
    scene.scheduler.rank = lambda _live, index: ranks[index]

    scene.queue(live)

    assert one_by_one(scene) == ["t2", "t1", "t3", "t0"]


def test_waiting_task_is_overtaken_only_until_its_age_makes_up_for_its_priority() -> None:
    scene = Scene({"loop": 1}, aging_seconds=60)
    low = scene.run(make_dag("work", {}))
    high = make_dag("work", {"priority": 3})
    scene.queue(low)
    overtaken = 0

    for _ in range(10):
        newcomer = scene.run(high)
        scene.queue(newcomer)
        started = scene.start(1)
        scene.end()
        if started[0].startswith(low.run_id):
            break
        overtaken += 1
        scene.wait(60)

    assert overtaken in (3, 4)


DIAMOND = {"a": ("b", "c"), "b": ("d",), "c": ("d",), "d": ()}


def diamond(rule: WeightRule, **weights: int) -> Dag:
    @task
    async def step(*after: object) -> None: ...

    @dag
    def work() -> None:
        def make(name: str, *after: object) -> object:
            return step.override(task_id=name, priority=weights.get(name, 1), weight_rule=rule)(*after)

        a = make("a")
        make("d", make("b", a), make("c", a))

    built = build(work)
    assert isinstance(built, Dag)
    return built


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        # As Airflow's documentation computes them: each task once, own weight included.
        (WeightRule.ABSOLUTE, {"a": 1, "b": 5, "c": 1, "d": 2}),
        (WeightRule.DOWNSTREAM, {"a": 9, "b": 7, "c": 3, "d": 2}),
        (WeightRule.UPSTREAM, {"a": 1, "b": 6, "c": 2, "d": 9}),
    ],
)
def test_weight_rules_count_every_related_task_once(rule: WeightRule, expected: dict[str, int]) -> None:
    made = diamond(rule, b=5, d=2)

    found = priorities_of(made.tasks)

    assert {made.tasks[index].task_id: priority for index, priority in found.items()} == expected


def test_dag_that_asks_nothing_has_no_asks() -> None:
    assert asks_of(make_dag("work", {}, {"retries": 3}, {"cache": True})) is None


@given(st.lists(st.tuples(st.integers(-5, 5), st.integers(0, 3)), min_size=1, max_size=25))
def test_start_order_is_the_sorted_order_of_level_rank_and_turn(tasks: list[tuple[int, int]]) -> None:
    scene = Scene({"loop": 1})
    live: LiveRun = scene.run(make_dag("work", *[{"priority": priority} for priority, _ in tasks]))
    scene.scheduler.rank = lambda _live, index: float(tasks[index][1])

    scene.queue(live)

    wanted = sorted(range(len(tasks)), key=lambda n: (-tasks[n][0], -tasks[n][1], n))
    assert one_by_one(scene) == [f"t{n}" for n in wanted]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.integers(1, 6))
def test_ranks_decide_in_each_round_among_what_waits(ranks: list[int], slots: int) -> None:
    """Also for tasks that come while others wait, and where some of them start at once."""
    scene = Scene({"loop": slots})
    live: LiveRun = scene.run(make_dag("work", *[{}] * len(ranks)))
    scene.scheduler.rank = lambda _live, index: float(ranks[index])
    half = (len(ranks) + 1) // 2
    scene.queue(live, *range(half))
    waiting = set(range(half))

    for step in range(len(ranks) + 1):
        wanted = sorted(waiting, key=lambda n: (-ranks[n], n))[: slots - len(scene.running)]
        started = [int(name[1:]) for name in names(scene.start())]
        if len(waiting) > slots - len(scene.running) + len(started):
            assert started == wanted
        else:
            assert set(started) == set(wanted)
        waiting -= set(started)
        if step == 0 and half < len(ranks):
            scene.queue(live, *range(half, len(ranks)))
            waiting |= set(range(half, len(ranks)))
        if scene.running:
            scene.end(next(iter(scene.running)))

    assert not waiting


def test_nothing_is_ranked_while_everything_starts_at_once() -> None:
    scene = Scene({"loop": 10})
    live = scene.run(make_dag("work", *[{}] * 10))
    asked: list[int] = []
    scene.scheduler.rank = lambda _live, index: float(asked.append(index) or 0)

    scene.queue(live)
    scene.start()

    assert asked == []
