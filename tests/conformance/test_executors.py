"""Every executor against the executor conformance suite."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from tests.conformance.executors import (
    PATIENCE,
    ClusterConformance,
    Door,
    ExecutorAdapter,
    ExecutorConformance,
    Scene,
    WorkerConformance,
)

from tidemill.executors.loop import LoopExecutor
from tidemill.executors.process.executor import ProcessExecutor
from tidemill.executors.remote.dask import DaskExecutor
from tidemill.executors.remote.ray import RayExecutor
from tidemill.executors.remote.request import Limits
from tidemill.executors.thread import ThreadExecutor
from tidemill.runs.attempts import Executor, OutcomeKind
from tidemill.testing.clusters import TestCluster


class LoopAdapter:
    """The event loop."""

    name, is_coroutine, options, kills, slots = "loop", True, "", True, 1 << 20

    async def build(self, limits: Limits, **settings: Any) -> Executor:
        return LoopExecutor(max_result_bytes=limits.max_result_bytes)


class TestLoop(ExecutorConformance):
    """The executor of coroutine functions."""

    @pytest.fixture
    async def adapter(self) -> ExecutorAdapter:
        return LoopAdapter()


class ThreadAdapter:
    """Threads."""

    name, is_coroutine, options, kills, slots = "thread", False, "", False, 4

    async def build(self, limits: Limits, **settings: Any) -> Executor:
        return ThreadExecutor(workers=4, max_result_bytes=limits.max_result_bytes)


class TestThread(ExecutorConformance):
    """The executor of plain functions."""

    @pytest.fixture
    async def adapter(self) -> ExecutorAdapter:
        return ThreadAdapter()


class ProcessAdapter:
    """Worker processes of this machine."""

    name, options, kills, slots = "process", "", True, 2

    def __init__(self, *, is_coroutine: bool = False) -> None:
        self.is_coroutine = is_coroutine

    async def build(self, limits: Limits, **settings: Any) -> Executor:
        settings.setdefault("workers", 2)
        return ProcessExecutor(limits=limits, environment={"PATH": "/usr/bin:/bin"}, **settings)


class TestProcess(WorkerConformance):
    """The executor of functions that need a process of their own."""

    @pytest.fixture(params=[False, True], ids=["plain", "coroutine"])
    async def adapter(self, request: pytest.FixtureRequest) -> ExecutorAdapter:
        return ProcessAdapter(is_coroutine=request.param)


class RayAdapter:
    """A real Ray cluster."""

    name, slots = "ray", 2

    def __init__(self, cluster: TestCluster, *, is_coroutine: bool = False, packs: bool = False) -> None:
        self.is_coroutine = is_coroutine
        self.options = "idempotent=True" if packs else ""
        self.kills = not packs
        self._cluster = cluster
        self._packs = packs

    async def build(self, limits: Limits, **settings: Any) -> Executor:
        executor = RayExecutor(
            self._cluster.address,
            limits=limits,
            pack_actors=int(self._packs),
            driver=self._cluster.keep_driver(),
            **settings,
        )
        await executor.connect()
        return executor


class TestRay(ClusterConformance):
    """One call per attempt."""

    @pytest.fixture
    async def adapter(self, ray_cluster: TestCluster) -> ExecutorAdapter:
        return RayAdapter(ray_cluster)

    async def test_machine_that_dies_is_a_failure_that_may_be_tried_again(
        self, scene: Scene, ray_cluster: TestCluster
    ) -> None:
        door = Door()
        ray_cluster.add_machine(far=1)
        async with door as port:
            dag = scene.waiting(60, options="resources={'far': 1}")
            scene.start(scene.attempt(dag, parameters={"port": port}))
            await asyncio.wait_for(door.begun.wait(), PATIENCE)

            await asyncio.to_thread(ray_cluster.remove_machine)

            [outcome] = await scene.outcomes(1)
            assert outcome.error_type in ("NodeLost", "WorkerLost")
            assert not outcome.permanent

    async def test_request_waits_for_a_cluster_that_grows(
        self, adapter: ExecutorAdapter, ray_cluster: TestCluster
    ) -> None:
        executor = await adapter.build(Limits(2000), wait_seconds=PATIENCE)
        scene = Scene(adapter, executor)
        scene.start(scene.attempt(scene.dag("return 1", options="resources={'late': 1}")))
        await asyncio.to_thread(ray_cluster.add_machine, late=1)

        [outcome] = await scene.outcomes(1)

        assert outcome.result == b"1"
        await executor.close()
        await asyncio.to_thread(ray_cluster.remove_machine)


class TestRayCoroutines(ClusterConformance):
    """Coroutine functions on workers."""

    @pytest.fixture
    async def adapter(self, ray_cluster: TestCluster) -> ExecutorAdapter:
        return RayAdapter(ray_cluster, is_coroutine=True)


class TestRayPacks(ClusterConformance):
    """Many attempts per call of a warm actor."""

    @pytest.fixture
    async def adapter(self, ray_cluster: TestCluster) -> ExecutorAdapter:
        return RayAdapter(ray_cluster, is_coroutine=True, packs=True)

    async def test_both_kinds_of_functions_share_a_call(self, scene: Scene, ray_cluster: TestCluster) -> None:
        plain = Scene(RayAdapter(ray_cluster, packs=True), scene.executor)
        body = "if n % 5 == 0: raise ValueError(n)\nprint(n)\nreturn [n, os.getpid()]"
        for number in range(40):
            one = plain if number % 2 else scene
            dag = one.dag(body, takes="n", gives="n", run="n: int")
            one.start(one.attempt(dag, run_id=f"run-{number}", parameters={"n": number}))

        outcomes = [*await scene.outcomes(20), *await plain.outcomes(20)]

        made = {one.run_id: orjson.loads(one.result) for one in outcomes if one.kind is OutcomeKind.SUCCEEDED}
        assert {int(name[4:]): value[0] for name, value in made.items()} == {
            number: number for number in range(40) if number % 5
        }
        assert len({value[1] for value in made.values()}) == 1

    async def test_killed_actor_fails_what_it_held_and_nothing_else(
        self, scene: Scene, ray_cluster: TestCluster
    ) -> None:
        body = "if n == 3: os.kill(os.getpid(), signal.SIGKILL)\nreturn n"
        dag = scene.dag(body, takes="n", gives="n", run="n: int")
        assert await scene.result("return 'warm'") == "warm"  # so that the six go out together
        scene.reported.clear()
        for number in range(6):
            scene.start(scene.attempt(dag, run_id=f"run-{number}", parameters={"n": number}))

        outcomes = list(await scene.outcomes(6))

        assert {one.error_type for one in outcomes} == {"WorkerLost"}
        assert not any(one.permanent for one in outcomes)
        assert await scene.result("return 'next'") == "next"


class DaskAdapter:
    """A real Dask cluster."""

    name, options, kills, slots = "dask", "", False, 4

    def __init__(self, address: str, *, is_coroutine: bool) -> None:
        self.is_coroutine = is_coroutine
        self._address = address

    async def build(self, limits: Limits, **settings: Any) -> Executor:
        executor = DaskExecutor(self._address, limits=limits, **settings)
        await executor.connect()
        return executor


class TestDask(ClusterConformance):
    """The same contract on another engine."""

    @pytest.fixture(params=[False, True], ids=["plain", "coroutine"])
    async def adapter(self, dask_cluster: TestCluster, request: pytest.FixtureRequest) -> ExecutorAdapter:
        return DaskAdapter(dask_cluster.address, is_coroutine=request.param)
