"""Each stage of admission tells what it decided: what it goes by, under which key, and until when."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.why.trigger_scene import MARKER, Scene, served, write

TRIGGERS = (
    """
triggers:
  - name: rate
    dag: take
    filters: [{exact: {type: rate}}]
    admission: {rate_limit: {limit: 1, period: 1h}}
  - name: batch
    dag: take
    filters: [{exact: {type: batch}}]
    admission: {batch: {period: 2h, size: 3}}
  - name: join
    dag: take
    filters: [{prefix: {type: part.}}]
    admission:
      join:
        window: 1h
        of:
          - {name: paid, filters: [{exact: {type: part.paid}}]}
          - {name: sent, filters: [{exact: {type: part.sent}}]}
  - name: throttle
    dag: take
    filters: [{exact: {type: throttle}}]
    admission: {throttle: {limit: 1, period: 1h}}
  - name: drop
    dag: slow
    filters: [{exact: {type: drop}}]
    admission: {concurrency: {limit: 1, when_full: drop}}
  - name: newest
    dag: slow
    filters: [{exact: {type: newest}}]
    admission: {concurrency: {limit: 1, when_full: cancel_running}, debounce: {period: 1h}, key: $.id}
  - name: cancelled
    dag: take
    filters: [{exact: {type: cancelled}}]
    admission: {debounce: {period: 1h}, cancel_on: {filters: [{exact: {type: stop}}]}}
  - name: loop
    dag: take
    filters: [{exact: {source: /tidemill/dags/take}}]
    loops: avoid
"""
    + MARKER
)


@pytest.fixture
async def scene(root: Path) -> AsyncIterator[Scene]:
    write(root, "triggers/t.yaml", TRIGGERS)
    async with served(root) as scene:
        yield scene


async def steps(scene: Scene, position: int, trigger: str) -> dict[str, Any]:
    return {step["stage"]: step for step in (await scene.why(position, trigger))["steps"]}


async def test_dropped_events_name_the_limit(scene: Scene) -> None:
    for trigger, stage in (("rate", "rate_limit"), ("drop", "concurrency")):
        first, second = await scene.send(trigger), await scene.send(trigger)

        passed, stopped = await steps(scene, first, trigger), await steps(scene, second, trigger)

        assert (await scene.why(second, trigger))["became"] == "dropped_by_limit"
        assert (passed[stage]["verdict"], stopped[stage]["verdict"]) == ("passed", "stopped")
        assert stopped[stage]["told"].startswith("at most 1")


async def test_batch_tells_how_many_wait_and_until_when(scene: Scene) -> None:
    first, second = await scene.send("batch"), await scene.send("batch")
    waiting = [(await steps(scene, one, "batch"))["batch"] for one in (first, second)]
    last = await scene.send("batch")

    joined = await steps(scene, first, "batch")

    assert [step["told"] for step in waiting] == ["waits for more events: 2 of 3"] * 2
    assert waiting[0]["until"] == waiting[1]["until"]
    assert joined["batch"]["verdict"] == "joined"
    assert (await scene.why(first, "batch"))["run"]["position"] == last


async def test_join_names_the_kinds_that_are_there(scene: Scene) -> None:
    paid, other = await scene.send("part.paid"), await scene.send("part.lost")
    waiting = (await steps(scene, paid, "join"))["join"]
    await scene.send("part.sent")

    joined = (await steps(scene, paid, "join"))["join"]

    assert (waiting["verdict"], waiting["told"]) == ("held", "waits for the others; there: paid")
    assert waiting["until"] is not None
    assert joined["verdict"] == "joined"
    assert (await steps(scene, other, "join"))["join"]["verdict"] == "stopped"
    assert (await scene.why(other, "join"))["became"] == "not_joined"


async def test_throttle_tells_the_turn_and_its_time(scene: Scene) -> None:
    first, second, third = [await scene.send("throttle") for _ in range(3)]

    one, two = [(await steps(scene, position, "throttle"))["throttle"] for position in (second, third)]

    assert (await scene.why(first, "throttle"))["became"] == "run"
    assert (one["told"], two["told"]) == (
        "waits for its turn, 0 before it: at most 1 starts in 1h",
        "waits for its turn, 1 before it: at most 1 starts in 1h",
    )
    assert (one["until"] is not None, two["until"]) == (True, None)


async def test_stages_after_the_one_that_holds_are_not_reached(scene: Scene) -> None:
    position = await scene.send("newest")

    found = await steps(scene, position, "newest")

    assert {stage: step["verdict"] for stage, step in found.items()} == {
        "debounce": "held",
        "concurrency": "not_reached",
    }
    assert found["debounce"]["key"] == '"e1"'


async def test_cancelled_event_names_what_cancelled_it(scene: Scene) -> None:
    position, stop = await scene.send("cancelled"), await scene.send("stop")

    one = await scene.why(position, "cancelled")

    assert one["became"] == "cancelled"
    assert f"by position {stop}" in one["told"]


async def test_avoided_loop_is_told(scene: Scene) -> None:
    await scene.send("rate")
    end = "dev.tidemill.run.succeeded.v1"

    for _ in range(100):
        page = await scene.get("events", type=end)
        if len(page["items"]) == 2:
            break
        await scene.send("marker")
    first, second = [await scene.why(item["position"], "loop") for item in page["items"][::-1]]

    assert (first["became"], second["became"]) == ("run", "loop_avoided")
    assert second["steps"][0]["verdict"] == "stopped"
    assert "one of its own has led to" in second["told"]
