"""Order of a partition or of a key, from the records to the runs: one at a time, first come first started."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import httpx
import pytest

from tidemill.service import Service
from tidemill.settings import Settings
from tidemill.storage.contract import RunFilter

pytestmark = pytest.mark.kafka

WORKFLOW = """
import asyncio
from tidemill import dag, task

TOLD = []

@task
async def apply(lane: str, n: int) -> None:
    TOLD.append((lane, n, "begins"))
    for _ in range(5):
        await asyncio.sleep(0)
    TOLD.append((lane, n, "ends"))

@dag
def change(lane: str, n: int):
    apply(lane, n)
"""


def write_project(root: Path, **kafka: Any) -> None:
    (root / "workflows").mkdir()
    (root / "triggers").mkdir()
    (root / "workflows" / "change.py").write_text(WORKFLOW, "utf-8")
    trigger = {
        "name": "changes",
        "dag": "change",
        "filters": [{"exact": {"type": "row"}}],
        "parameters": {"lane": "$.partitionkey", "n": "$.data.n"},
        "admission": {"concurrency": {"limit": 1, "key": "$.partitionkey"}},
    }
    written = {"sources": [{"name": "rows", "kafka": {"type": "row", **kafka}}], "triggers": [trigger]}
    (root / "triggers" / "changes.yaml").write_text(json.dumps(written))


@pytest.mark.parametrize("ordering", ["key", "partition"])
async def test_runs_of_one_lane_follow_each_other_in_the_order_of_its_records(
    ordering: str, cluster: Any, tmp_path: Path
) -> None:
    topic = await cluster.create_topic(2)
    write_project(tmp_path, topics=[topic], group=topic, ordering=ordering)
    keys = [b"ann", b"bob", b"\xff\x00", None]
    records: list[Any] = [(n % 2, keys[n % 4], b'{"n": %d}' % n, []) for n in range(80)]
    await cluster.produce(topic, records)

    service = Service(tmp_path, Settings(port=0, kafka_bootstrap_servers=cluster.bootstrap_servers))
    await service.start()
    told = service.project.dags["change"].tasks[0].function.__globals__["TOLD"]
    await service.store.log.wait_for_event(79)
    await wait_for_runs(service, 80)
    async with httpx.AsyncClient(base_url=service.url) as client:
        reconciled = (await client.get("/api/v1/sources/rows/reconcile")).json()
        shown = (await client.get("/api/v1/sources/rows")).json()
    letters = await service.store.dead_letters.list(stage=None, before=None, limit=9)
    await service.stop()

    lanes = defaultdict(list)
    for lane, n, what in told:
        lanes[lane].append((n, what))
    assert letters == []
    assert reconciled["is_whole"] is True
    assert [(row["state"], row["cursor"]) for row in reconciled["partitions"]] == [("in_step", 40)] * 2
    assert (shown["state"], shown["accepted"]) == ("live", 80)
    assert shown["last_event_age_seconds"] >= 0
    if ordering == "partition":
        assert set(lanes) == {f"{topic}/0", f"{topic}/1"}
    else:  # a key that is no text has a lane of its own, and records without a key that of their partition
        (binary,) = [lane for lane in lanes if lane.startswith("blake2b:")]
        assert set(lanes) == {"ann", "bob", binary, f"{topic}/1"}
    for lane in lanes.values():
        numbers = [n for n, what in lane if what == "begins"]
        assert numbers == sorted(numbers)
        assert lane == [(n, what) for n in numbers for what in ("begins", "ends")]


async def wait_for_runs(service: Service, count: int) -> None:
    """Wait until so many runs have succeeded; nobody signals that."""
    done = RunFilter(state="succeeded")
    async with asyncio.timeout(60):
        while len(await service.store.runs.list(done, before=None, limit=100)) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
