"""A paused trigger starts nothing, on every node and over restarts, and no event is lost or doubled by it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest
from tests.integration.why.trigger_scene import MARKER, Scene, served, until, write

from tidemill.events.event import Event
from tidemill.storage.contract import Append
from tidemill.storage.paused import PausedKind, PausedNames
from tidemill.storage.sqlite import open_store
from tidemill.testing.clock import ManualClock

BUFFERED = (
    """
triggers:
  - name: kept
    dag: take
    filters: [{exact: {type: order.kept}}]
    parameters: {n: $.data.n}
    admission: {paused: buffer}
"""
    + MARKER
)


async def test_paused_trigger_records_events_as_paused_until_it_is_resumed(scene: Scene) -> None:
    paused = await scene.post("triggers/plain/pause")
    during = await scene.send("order", n=5)
    resumed = await scene.post("triggers/plain/resume")
    after = await scene.send("order", n=6)

    assert (paused["state"], paused["paused_by"]) == ("paused", "request")
    assert (resumed["state"], resumed["paused_at"]) == ("active", None)
    assert await scene.became(during) == {"plain": "paused"}
    assert await scene.became(after) == {"plain": "run"}
    assert "somebody had paused it" in (await scene.why(during, "plain"))["told"]
    assert (await scene.get("audit"))["wrong"] == 0


async def test_pause_outlives_the_process(root: Path) -> None:
    async with served(root) as scene:
        await scene.post("triggers/plain/pause")

    async with served(root) as scene:
        (plain,) = [one for one in (await scene.get("triggers"))["items"] if one["name"] == "plain"]
        position = await scene.send("order", n=5)

        assert plain["state"] == "paused"
        assert await scene.became(position) == {"plain": "paused"}


async def test_buffered_events_start_in_order_when_it_is_resumed(root: Path) -> None:
    write(root, "triggers/t.yaml", BUFFERED)
    async with served(root) as scene:
        await scene.post("triggers/kept/pause")
        positions = [await scene.send("order.kept", n=n) for n in range(3)]
        waiting = await scene.why(positions[0], "kept")
        held = (await scene.get("triggers/kept"))["held"]
        assert [await scene.became(position) for position in positions] == [{}] * 3

        await scene.post("triggers/kept/resume")
        runs = (await until(lambda: scene.get("runs"), lambda page: len(page["items"]) == 3))["items"]

        assert (waiting["became"], held) == ("held", {"pause": 3})
        assert "resumed" in waiting["told"]
        assert [run["parameters"]["n"] for run in sorted(runs, key=lambda run: run["event"]["position"])] == [
            0,
            1,
            2,
        ]
        assert [await scene.became(position) for position in positions] == [{"kept": "run"}] * 3
        assert (await scene.get("audit"))["wrong"] == 0


async def test_pauses_under_load_lose_and_double_no_event(scene: Scene) -> None:
    sent = 0
    for turn in range(10):
        asked = asyncio.create_task(scene.post(f"triggers/plain/{'pause' if turn % 2 == 0 else 'resume'}"))
        while not asked.done():
            events = [Event(id=f"load{sent + n}", source="/s", type="order", data={"n": 5}) for n in range(5)]
            await scene.service.store.log.append(Append(events=events))
            sent += len(events)
            await asyncio.sleep(0.002)
        await asked
    report = await until(
        lambda: scene.get("audit"), lambda found: sum(found["dispositions"].values()) == sent
    )

    assert report["wrong"] == 0
    assert report["dispositions"].keys() <= {"paused", "run"}


async def test_what_cannot_be_paused_or_resumed_is_refused(scene: Scene) -> None:
    unknown = await scene.client.post("/api/v1/triggers/nobody/pause")
    in_file = await scene.client.post("/api/v1/triggers/asleep/resume")

    assert unknown.status_code == 404
    assert in_file.status_code == 409
    assert "triggers/t.yaml" in in_file.json()["detail"]


@pytest.mark.parametrize("twice", [False, True])
async def test_other_node_notices_a_pause(tmp_path: Path, *, twice: bool) -> None:
    clock = ManualClock()
    store = await open_store(tmp_path / "t.db", clock=clock)
    told: list[frozenset[str]] = []
    here = PausedNames(store.log, store.ledger, kind=PausedKind.TRIGGER, clock=clock)
    there = PausedNames(
        store.log,
        store.ledger,
        kind=PausedKind.TRIGGER,
        clock=clock,
        changed=lambda: told.append(there.names),
    )
    following = asyncio.create_task(there.follow())
    await asyncio.sleep(0)

    await here.pause("t")
    if twice:
        await here.pause("t")
    clock.advance(1.0)
    await there.wait_until("t", paused=True)
    await asyncio.sleep(0)
    await here.resume("t")
    clock.advance(1.0)
    await there.wait_until("t", paused=False)
    await asyncio.sleep(0)

    assert told == [frozenset({"t"}), frozenset()]
    following.cancel()
    with suppress(asyncio.CancelledError):
        await following
    await store.close()
