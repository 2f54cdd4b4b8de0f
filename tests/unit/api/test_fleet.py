"""What one node says of the fleet: who is in it, and what the shards of this node have to do."""

from __future__ import annotations

from typing import Any

import pytest
from tests.conformance.values import new_run

from tidemill.storage.contract import NewRun, NodeView, Recorded, RouteBatch, RunEnd


def _run(number: int, shard: int) -> NewRun:
    return new_run(f"run-{number}", version="1", trigger="order", queued_at=0, correlation_id="", shard=shard)


async def _shard_series(surface: Any) -> list[str]:
    text = (await surface.client.get("/metrics")).text
    return [line for line in text.splitlines() if line.startswith("tidemill_shard_runs{")]


async def test_metrics_show_open_runs_of_owned_shards_that_have_any(surface: Any) -> None:
    runs = [_run(number, shard) for number, shard in enumerate((3, 3, 7, 9, 9, 200))]
    await surface.store.runs.route(RouteBatch(expected=0, cursor=0, runs=runs))
    await surface.store.runs.record(
        [
            Recorded("run-0", 0, 1, b"[]", RunEnd("running", 1)),
            Recorded("run-2", 0, 1, b"[]", RunEnd("failed", 1, 2)),
        ]
    )
    surface.store.shards.shared = True
    surface.store.shards.change({3, 7, 8, 9})

    assert await _shard_series(surface) == [
        'tidemill_shard_runs{shard="3",state="queued"} 1.0',
        'tidemill_shard_runs{shard="3",state="running"} 1.0',
        'tidemill_shard_runs{shard="9",state="queued"} 2.0',
    ]
    surface.store.shards.change(())
    assert await _shard_series(surface) == []


async def test_metrics_show_no_shards_where_one_process_has_the_database_to_itself(surface: Any) -> None:
    await surface.store.runs.route(RouteBatch(expected=0, cursor=0, runs=[_run(1, 3)]))

    assert await _shard_series(surface) == []


async def test_nodes_show_their_shards_their_load_and_how_far_behind_they_are(
    surface: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = {"live_runs": 31, "running_tasks": 12, "waiting_tasks": 3, "unrouted_events": 5}
    nodes = [NodeView("one", "http://one:7070", 128, draining=False, silent_seconds=0.41234, load=load)]

    async def known() -> list[NodeView]:
        return nodes

    monkeypatch.setattr(surface.store, "nodes", known)

    answer = await surface.client.get("/api/v1/nodes")

    assert answer.json() == {
        "items": [
            {
                "name": "one",
                "url": "http://one:7070",
                "shards": 128,
                "draining": False,
                "silent_seconds": 0.412,
                "load": load,
            }
        ]
    }
