"""`tidemill sources reconcile`: the brokers' offsets against our cursors, and an exit code that says if it fits."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tidemill.cli.app import app
from tidemill.clock import SystemClock
from tidemill.project.load import load
from tidemill.sources.kafka import KafkaSourceStage
from tidemill.storage.sqlite import open_store

pytestmark = pytest.mark.kafka


class Project:
    """A project with one Kafka source called `orders`, on disk."""

    def __init__(self, root: Path, bootstrap_servers: str) -> None:
        self.root = root
        self.bootstrap_servers = bootstrap_servers
        (root / "triggers").mkdir(parents=True)
        (root / "workflows").mkdir()
        (root / "tidemill.toml").write_text(f'kafka_bootstrap_servers = "{bootstrap_servers}"\n')

    def read_topics(self, *topics: str) -> None:
        kafka = {"topics": topics, "group": f"group-{topics[0]}", "type": "row"}
        written = {
            "sources": [{"name": "orders", "kafka": kafka}, {"name": "beat", "schedule": {"every": "1h"}}]
        }
        (self.root / "triggers" / "orders.yaml").write_text(json.dumps(written))

    async def run_until(self, count: int) -> None:
        """Read until the log has `count` events."""
        (self.root / ".tidemill").mkdir(exist_ok=True)
        store = await open_store(self.root / ".tidemill" / "tidemill.db", clock=SystemClock())
        spec: Any = load(self.root).sources[0]
        stage = KafkaSourceStage(
            spec, store.log, store.ledger, clock=SystemClock(), bootstrap_servers=self.bootstrap_servers
        )
        running = asyncio.create_task(stage.run())
        async with asyncio.timeout(60):
            await store.log.wait_for_event(count - 1)
        running.cancel()
        await asyncio.wait((running,))
        await store.close()

    async def command(self, *arguments: str) -> Any:
        given = [*arguments, "--project", str(self.root)]
        return await asyncio.to_thread(CliRunner().invoke, app, given)

    async def reconcile(self) -> tuple[int, dict[str, Any]]:
        """Exit code and answer."""
        result = await self.command("sources", "reconcile", "orders", "--output", "json")
        return result.exit_code, json.loads(result.stdout)


@pytest.fixture
def project(tmp_path: Path, kafka: str) -> Project:
    return Project(tmp_path / "project", kafka)


def rows(numbers: range, partition: int = 0) -> list[Any]:
    return [(partition, None, b'{"row": %d}' % number, []) for number in numbers]


async def test_reconcile_tells_what_waits_and_ends_well_while_nothing_is_lost(
    cluster: Any, project: Project
) -> None:
    topic = await cluster.create_topic(2)
    project.read_topics(topic)
    await cluster.produce(topic, rows(range(3)))
    unread, _ = await project.reconcile()

    await project.run_until(3)
    in_step, first = await project.reconcile()
    await cluster.produce(topic, rows(range(4), partition=1))
    behind, second = await project.reconcile()

    assert (unread, in_step, behind) == (0, 0, 0)
    states = {row["partition"]: (row["state"], row["cursor"], row["waiting"]) for row in first["partitions"]}
    assert states == {0: ("in_step", 3, 0), 1: ("in_step", 0, 0)}
    assert [row["state"] for row in second["partitions"]] == ["in_step", "behind"]
    assert second["partitions"][1] | {"topic": "t"} == {
        "topic": "t",
        "partition": 1,
        "state": "behind",
        "is_lost": False,
        "cursor": 0,
        "begin": 0,
        "end": 4,
        "waiting": 4,
        "lost": 0,
    }
    assert second["is_whole"] is True


async def test_reconcile_tells_expired_recreated_and_missing_topics(cluster: Any, project: Project) -> None:
    expired, recreated, missing = [await cluster.create_topic(1) for _ in range(3)]
    project.read_topics(expired, recreated, missing, "never-there")
    for topic in (expired, recreated, missing):
        await cluster.produce(topic, rows(range(2)))
    await project.run_until(6)
    await cluster.produce(expired, rows(range(2, 9)))
    await cluster.delete_records(expired, 0, before=5)
    for topic in (recreated, missing):
        await cluster.delete_topic(topic)
    await cluster.create_topic(1, name=recreated)
    await cluster.produce(recreated, rows(range(7)))

    code, answer = await project.reconcile()

    assert code == 1
    assert answer["is_whole"] is False
    assert answer["unknown_topics"] == ["never-there"]
    found = {row["topic"]: (row["state"], row["cursor"], row["lost"]) for row in answer["partitions"]}
    assert found == {
        expired: ("expired", 2, 3),
        recreated: ("recreated", 2, None),
        missing: ("missing", 2, None),
    }


async def test_reconcile_lists_losses_on_record(cluster: Any, project: Project) -> None:
    topic = await cluster.create_topic(1)
    project.read_topics(topic)
    await cluster.produce(topic, rows(range(2)))
    await project.run_until(2)
    await cluster.produce(topic, rows(range(2, 9)))
    await cluster.delete_records(topic, 0, before=5)
    await project.run_until(7)

    code, answer = await project.reconcile()
    shown = await project.command("sources", "reconcile", "orders")

    assert code == 1
    assert [row["state"] for row in answer["partitions"]] == ["in_step"]
    (gap,) = answer["gaps"]
    assert gap["subject"] == f"{topic}/0"
    assert (gap["reason"], gap["expected_offset"], gap["resumed_at_offset"]) == ("expired", 2, 5)
    assert shown.exit_code == 1
    assert "expired" in shown.stdout
    assert "in_step" in shown.stdout


async def test_reconcile_refuses_other_sources_and_says_when_no_broker_answers(
    cluster: Any, project: Project, unused_tcp_port: int
) -> None:
    project.read_topics("t")

    other = await project.command("sources", "reconcile", "beat")
    unknown = await project.command("sources", "reconcile", "nothing")
    (project.root / "tidemill.toml").write_text(f'kafka_bootstrap_servers = "127.0.0.1:{unused_tcp_port}"\n')
    silent = await project.command("sources", "reconcile", "orders")
    (project.root / "tidemill.toml").write_text("")
    off = await project.command("sources", "reconcile", "orders")

    assert [one.exit_code for one in (other, unknown, silent, off)] == [1, 1, 1, 1]
    assert "only kafka sources can be reconciled" in other.stderr
    assert "there is no such source" in unknown.stderr
    assert "the brokers of orders do not answer" in silent.stderr
    assert "no broker is configured" in off.stderr
