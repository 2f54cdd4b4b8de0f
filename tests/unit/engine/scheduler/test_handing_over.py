"""A slot that becomes free goes on to the next task of its run at once, where that is fair to everybody."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.engine.scheduler.scene import Scene, make_dag

from tidemill.engine.live import LiveRun
from tidemill.engine.scheduler import Grant


def begun(scene: Scene, *options: dict[str, Any]) -> tuple[LiveRun, Grant]:
    """A run whose first task runs, and what that has."""
    live = scene.run(make_dag("chain", {}, *options))
    scene.queue(live, 0)
    (name,) = scene.start()
    return live, scene.running.pop(name)


def test_next_task_takes_the_slot_when_nobody_waits() -> None:
    scene = Scene({"loop": 1})
    live, grant = begun(scene, {})

    handed = scene.scheduler.hand_over(grant, live, 1)

    assert handed
    assert scene.scheduler.running == 1
    scene.scheduler.release(grant)
    assert scene.is_idle()


def test_whoever_waits_comes_before_the_next_task_of_the_same_run() -> None:
    scene = Scene({"loop": 1})
    live, grant = begun(scene, {})
    scene.queue(scene.run(make_dag("waiting", {})))

    handed = scene.scheduler.hand_over(grant, live, 1)

    scene.scheduler.release(grant)
    assert not handed
    assert scene.start() == ["waiting-2/t0"]


@pytest.mark.parametrize("asks", [{"cpu": 1}, {"priority": 5}, {"max_active": 1}, {"pool": "other"}])
def test_task_that_asks_for_something_queues_for_it(asks: dict[str, Any]) -> None:
    scene = Scene({"loop": 10}, stock={"cpu": 4})
    live, grant = begun(scene, asks)

    assert not scene.scheduler.hand_over(grant, live, 1)

    assert scene.scheduler.running == 1  # nothing was done
    scene.scheduler.release(grant)
    assert scene.is_idle()


def test_executor_that_was_made_smaller_gets_its_slots_back() -> None:
    scene = Scene({"loop": 2})
    live, grant = begun(scene, {})
    scene.scheduler.executors["loop"].free -= 2  # as when its size was changed from 2 to 0

    assert not scene.scheduler.hand_over(grant, live, 1)


def test_slots_that_are_handed_over_count_as_starts_of_their_dag() -> None:
    scene = Scene({"loop": 2})
    live, grant = begun(scene, {})
    scene.queue(scene.run(make_dag("other", {})))  # from here on shares are counted
    scene.start()
    before = grant.account.served

    scene.scheduler.hand_over(grant, live, 1)

    assert grant.account.served > before
    assert grant.account.used == 1
    assert grant.pool.started == 3
