"""What a real Ray cluster does to attempts and to the service: its head restarted, its driver killed, environments."""

from __future__ import annotations

import asyncio
import os
import signal
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.executors import PATIENCE, Door, Scene, is_broken_in_ray
from tests.conformance.test_executors import RayAdapter

from tidemill.errors import SettingsError
from tidemill.events.lifecycle import dag_requested
from tidemill.executors.remote.ray import RayExecutor
from tidemill.executors.remote.request import Limits
from tidemill.runs.attempts import OutcomeKind
from tidemill.runs.records import TaskRetrying, TaskStarted, decode
from tidemill.service import Service
from tidemill.settings import Settings
from tidemill.storage.contract import Append, RunFilter
from tidemill.testing.clusters import TestCluster

#: Retries go on until the cluster is there again.
WORKFLOW = """
import socket, time
from datetime import timedelta
from tidemill import Retry, dag, task

AGAIN = Retry(max_attempts=100, delay=timedelta(seconds=2), backoff=1)

@task(executor="ray", retry=AGAIN)
def work(port):
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.recv(1)
    return port

@task(executor="ray", idempotent=True, retry=AGAIN)
def small(n):
    return n

@dag
def long(port: int):
    return work(port)

@dag
def short(n: int):
    return small(n)
"""


@asynccontextmanager
async def scene_of(cluster: TestCluster, address: str, **settings: Any) -> AsyncIterator[Scene]:
    """Attempts in a cluster, by a driver of their own."""
    executor = RayExecutor(address, limits=Limits(2000), **settings)
    try:
        await executor.connect()
    except SettingsError as error:
        if is_broken_in_ray(str(error)):
            pytest.skip(f"Ray could not start its own client server: {error}")
        raise
    try:
        yield Scene(RayAdapter(cluster), executor)
    finally:
        await executor.close()


@asynccontextmanager
async def served(folder: Path, address: str) -> AsyncIterator[Service]:
    """A service in this process."""
    (folder / "workflows").mkdir()
    (folder / "workflows" / "work.py").write_text(WORKFLOW, "utf-8")
    service = Service(folder, Settings(port=0, drain_seconds=0, ray_address=address))
    await service.start()
    try:
        yield service
    finally:
        await service.stop()


async def ask(service: Service, dag: str, parameters: dict[str, Any], request: str) -> None:
    event = dag_requested(dag=dag, parameters=parameters, id=request, by="test")
    await service.store.log.append(Append(events=[event]))


async def states(service: Service, dag: str) -> list[str]:
    runs = await service.store.runs.list(RunFilter(), before=None, limit=50)
    return [run.state for run in runs if run.dag == dag]


async def ended(service: Service, dag: str, count: int) -> list[str]:
    """States of the runs, once `count` have ended."""
    async with asyncio.timeout(PATIENCE):
        while True:
            head = service.store.log.head
            found = [state for state in await states(service, dag) if state not in ("queued", "running")]
            if len(found) >= count:
                return found
            await service.store.log.wait_for_event(head)


@pytest.mark.timeout(300)  # two clusters, and all that Ray waits for in between
async def test_service_outlives_a_head_that_is_restarted(
    own_ray_cluster: TestCluster, tmp_path: Path
) -> None:
    cluster, door, later = own_ray_cluster, Door(), Door()
    async with door as port, later as later_port, served(tmp_path, cluster.address) as service:
        await ask(service, "short", {"n": 1}, "before")
        assert await ended(service, "short", 1) == ["succeeded"]
        await ask(service, "long", {"port": port}, "under-way")
        await asyncio.wait_for(door.begun.wait(), PATIENCE)

        await asyncio.to_thread(cluster.stop_head)
        await ask(service, "short", {"n": 2}, "while-away")
        door.begun.clear()
        await asyncio.to_thread(cluster.start_head)

        # The attempt under way is lost, and its retry policy makes another one in the new cluster.
        await asyncio.wait_for(door.begun.wait(), PATIENCE)
        door.open()
        assert await ended(service, "long", 1) == ["succeeded"]
        assert await ended(service, "short", 2) == ["succeeded", "succeeded"]
        await ask(service, "long", {"port": later_port}, "after")
        await asyncio.wait_for(later.begun.wait(), PATIENCE)
        later.open()
        assert await ended(service, "long", 2) == ["succeeded", "succeeded"]
        runs = await service.store.runs.list(RunFilter(), before=None, limit=50)
        oldest = min((run for run in runs if run.dag == "long"), key=lambda run: run.queued_at)
        history = await service.store.runs.history(oldest.run_id)
        records = [record for _, _, body in history for record in decode(body)]
        failures = [record.failure.error_type for record in records if isinstance(record, TaskRetrying)]
        assert failures
        assert set(failures) <= {
            "NodeLost",
            "WorkerLost",
            "ClusterLost",
            "ClusterFailed",
            "ClusterUnreachable",
        }
        assert sum(isinstance(record, TaskStarted) for record in records) == len(failures) + 1


async def test_driver_that_dies_fails_what_was_under_way_and_is_replaced(ray_cluster: TestCluster) -> None:
    door = Door()
    async with door as port, scene_of(ray_cluster, ray_cluster.address) as scene:
        scene.start(scene.attempt(scene.waiting(60), parameters={"port": port}))
        await asyncio.wait_for(door.begun.wait(), PATIENCE)
        [driver] = children_of(os.getpid(), "executors.remote.ray_driver")

        os.kill(driver, signal.SIGKILL)

        [outcome] = await scene.outcomes(1)
        assert (outcome.error_type, outcome.permanent) == ("ClusterLost", False)
        await asyncio.wait_for(door.gone.wait(), PATIENCE)  # Ray ends what nobody waits for any more
        assert await scene.result("return 'next'") == "next"
    assert not children_of(os.getpid(), "executors.remote.ray_driver")


async def test_attempts_that_begin_while_nothing_is_joined_wait(ray_cluster: TestCluster) -> None:
    door = Door()
    async with door as port, scene_of(ray_cluster, ray_cluster.address, pack_actors=1) as scene:
        assert await scene.result("return 0", options="idempotent=True") == 0
        scene.start(scene.attempt(scene.waiting(60), parameters={"port": port}))
        await asyncio.wait_for(door.begun.wait(), PATIENCE)
        [driver] = children_of(os.getpid(), "executors.remote.ray_driver")
        scene.reported.clear()
        os.kill(driver, signal.SIGKILL)
        assert [one.error_type for one in await scene.outcomes(1)] == ["ClusterLost"]

        single = scene.dag("return 1")
        packed = scene.dag("return 2", options="idempotent=True")
        scene.reported.clear()
        scene.start(scene.attempt(single, run_id="a"))
        scene.start(scene.attempt(packed, run_id="b"))
        scene.start(scene.attempt(single, run_id="c"))
        scene.executor.cancel("c", 0)

        outcomes = {one.run_id: one for one in await scene.outcomes(3)}
        assert outcomes["c"].kind is OutcomeKind.CANCELLED
        assert (outcomes["a"].result, outcomes["b"].result) == (b"1", b"2")


async def test_task_has_packages_of_its_own(ray_cluster: TestCluster, tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, "tidemill_tide", "HEIGHT = 41")
    body = "import tidemill_tide\nreturn [tidemill_tide.HEIGHT, os.environ['TIDE']]"
    options = f"environment={{'pip': [{str(wheel)!r}], 'env_vars': {{'TIDE': 'high'}}}}"
    async with scene_of(ray_cluster, ray_cluster.address) as scene:
        assert await scene.result(body, options=options) == [41, "high"]

        without = await scene.failure("import tidemill_tide")

        assert without.error_type == "ModuleNotFoundError"


async def test_environment_that_cannot_be_made_is_a_failure_of_the_attempt(
    ray_cluster: TestCluster, tmp_path: Path
) -> None:
    options = f"environment={{'pip': [{str(tmp_path / 'missing-1.0-py3-none-any.whl')!r}]}}"
    async with scene_of(ray_cluster, ray_cluster.address) as scene:
        outcome = await scene.failure("return 1", options=options)

    assert outcome.error_type == "EnvironmentFailed"
    assert not outcome.permanent


async def test_client_address_carries_every_kind_of_attempt(own_ray_cluster: TestCluster) -> None:
    async with scene_of(own_ray_cluster, own_ray_cluster.client) as scene:
        for options in ("", "idempotent=True", "timeout=60"):
            assert await scene.result("return [1]", options=options) == [1]
            died = await scene.failure("os.kill(os.getpid(), signal.SIGKILL)", options=options)
            assert died.error_type == "WorkerLost"
            door = Door()
            async with door as port:
                scene.reported.clear()
                scene.start(scene.attempt(scene.waiting(3, options=options), parameters={"port": port}))
                await asyncio.wait_for(door.begun.wait(), PATIENCE)
                scene.executor.cancel("run-1", 0)
                [outcome] = await scene.outcomes(1)
                assert outcome.kind is OutcomeKind.CANCELLED
        late = await scene.failure("time.sleep(60)", options="timeout=0.5")
        assert late.error_type == "TaskTimedOut"


def make_wheel(folder: Path, name: str, source: str) -> Path:
    """A package of one module, as pip installs it."""
    path = folder / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{name}.py", source)
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return path


def children_of(parent: int, module: str) -> list[int]:
    """Processes that run a module for another one, but for that which all tests share."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            words = (place / "cmdline").read_bytes().split(b"\0")
            state, parent_of, _, session = (place / "stat").read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        is_leader = session == place.name  # of a session: those that an executor started
        if state != "Z" and int(parent_of) == parent and is_leader and f"tidemill.{module}".encode() in words:
            found.append(int(place.name))
    return found
