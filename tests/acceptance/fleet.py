"""What the tests of fleets do with a scene: start its nodes, wait for their shares, see who works on what."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence

import httpx
from tests.acceptance.evidence import Line, read_lines
from tests.acceptance.notes import wait_until
from tests.acceptance.scene import Scene
from tests.acceptance.server import ServerProcess

__all__ = [
    "ANSWER_SECONDS",
    "acknowledged",
    "begin_runs",
    "cancel_jobs",
    "executions",
    "has_logged",
    "refused_records",
    "runs_of",
    "start",
    "wait_for_next_attempts",
    "wait_for_records",
    "wait_for_shares",
]

#: A request that a node does not answer goes to the next one after this time.
ANSWER_SECONDS = 2.0
_SHARDS = 256
_RUNS = 16


async def start(*servers: ServerProcess) -> None:
    """Start nodes at the same time; return when all are ready."""
    await asyncio.gather(*(server.start() for server in servers))


async def wait_for_shares(scene: Scene, *nodes: str, seconds: float = 30.0) -> None:
    """Return when these nodes, and no others, own all shards in equal parts."""
    async with asyncio.timeout(seconds):
        while True:
            owned = await _shards(scene)
            sizes = owned.values()
            if set(owned) == set(nodes) and sum(sizes) == _SHARDS and max(sizes) - min(sizes) <= 1:
                return
            await asyncio.sleep(0.05)


async def _shards(scene: Scene) -> dict[str, int]:
    """Shards by node, as the nodes that live see it."""
    answer = await scene.client.ask("GET", "/api/v1/nodes")
    assert answer.status_code == 200, answer.text
    return {node["name"]: node["shards"] for node in answer.json()["items"]}


def acknowledged(scene: Scene) -> int:
    """How many posts have been answered with 202."""
    return sum(line["what"] == "ack" for line in read_lines(scene.folder / "sent.jsonl"))


def has_logged(server: ServerProcess, event: str) -> bool:
    """Whether a node has logged such an event."""
    return event in server.log()


async def refused_records(server: ServerProcess) -> int:
    """What a node counts of late writes since its start."""
    async with httpx.AsyncClient(trust_env=False, timeout=10.0) as client:
        answer = await client.get(server.url + "/metrics")
    (line,) = [
        line for line in answer.text.splitlines() if line.startswith("tidemill_refused_records_total ")
    ]
    return int(float(line.rpartition(" ")[2]))


async def begin_runs(scene: Scene, kind: str, name: str, *, count: int = _RUNS) -> set[str]:
    """Begin runs of one task, on whatever nodes their shards are; return when all of them have begun."""
    names = [f"{kind}-{name}-{number}" for number in range(count)]
    positions = await asyncio.gather(*(scene.post(f"com.example.{kind}", name) for name in names))
    runs = set(await asyncio.gather(*map(scene.run_at, positions)))
    await wait_until(lambda: runs <= {line["run"] for line in executions(scene)})
    return runs


def runs_of(scene: Scene, runs: Collection[str], node: ServerProcess) -> set[str]:
    """Those of the runs that `node` has begun."""
    ours = {line["run"] for line in executions(scene) if line["run"] in runs and line["pid"] == node.pid}
    assert ours, f"{node.node} has none of these runs"
    return ours


async def wait_for_next_attempts(scene: Scene, runs: Collection[str], nodes: Sequence[ServerProcess]) -> None:
    """Return when the nodes have begun all of these runs again."""
    pids = {node.pid for node in nodes}
    await wait_until(
        lambda: set(runs) <= {line["run"] for line in executions(scene) if line["pid"] in pids}, seconds=40
    )


def executions(scene: Scene) -> list[Line]:
    """What the tasks wrote down so far."""
    return read_lines(scene.folder / "effects.jsonl")


async def cancel_jobs(scene: Scene) -> None:
    """Cancel every job that still runs."""
    answer = await scene.client.ask(
        "GET", "/api/v1/runs", params={"dag": "jobs", "state": "running", "limit": 200}
    )
    for run in answer.json()["items"]:
        await scene.cancel(run["id"])


async def wait_for_records(scene: Scene, count: int, *, seconds: float = 30.0) -> None:
    """Return when so many more Kafka records are in the log."""
    query = "SELECT count(*) FROM events WHERE source LIKE '/kafka/%' OR source = '/acceptance/kafka'"
    (before,) = await scene.state.row(query)
    async with asyncio.timeout(seconds):
        while True:
            (now,) = await scene.state.row(query)
            if now >= before + count:
                return
            await asyncio.sleep(0.1)
