"""The life of an attempt on a cluster under virtual time, with a cluster that does as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.executors import ClusterConformance, ExecutorAdapter, Scene
from tests.unit.executors.inline import InlineCluster

from tidemill.errors import SettingsError
from tidemill.executors.remote.capacity import Machine
from tidemill.executors.remote.cluster import Call
from tidemill.executors.remote.executor import RemoteExecutor
from tidemill.executors.remote.outcomes import ClusterFailure
from tidemill.executors.remote.request import Limits, Spent
from tidemill.executors.remote.worker import perform
from tidemill.runs.attempts import Executor, OutcomeKind
from tidemill.testing.clock import ManualClock


class Told:
    """A cluster that holds every call until it is told what comes of it."""

    name = "ray"
    sets_environment = False
    lanes = 1

    def __init__(self, *, stop_seconds: float = 0.0) -> None:
        self.stop_seconds = stop_seconds
        self.has: list[Machine] | ClusterFailure = [Machine("one", cpu=2)]
        self.calls: list[Call] = []
        self.answers: list[asyncio.Future[bytes]] = []
        self.packs: list[bytes] = []
        self.lost: Callable[[], None] = lambda: None
        self.stopped: list[str] = []
        self.rejoined = 0
        self.answering = True
        self.arrived = asyncio.Event()

    async def connect(self) -> None:
        pass

    def watch(self, lost: Callable[[], None]) -> None:
        self.lost = lost

    async def reach(self) -> None:
        if not self.answering:
            raise SettingsError("nothing answers")

    async def rejoin(self) -> None:
        self.rejoined += 1
        self.has = [Machine("one", cpu=2)]

    async def machines(self) -> Sequence[Machine]:
        if isinstance(self.has, ClusterFailure):
            raise ClusterFailure(self.has.kind, str(self.has))
        return self.has

    def submit(self, call: Call, machines: Sequence[Machine]) -> Any:
        self.calls.append(call)
        return self._submitted(call.key)

    def submit_pack(self, request: bytes, lane: int) -> Any:
        self.packs.append(request)
        return self._submitted(f"pack-{len(self.packs)}")

    def _submitted(self, key: str) -> Any:
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.answers.append(answer)
        self.arrived.set()
        cluster = self

        class Submitted:
            def reply(self) -> Awaitable[bytes]:
                return answer

            def stop(self) -> None:
                cluster.stopped.append(key)

        return Submitted()

    async def close(self) -> None:
        pass

    async def submitted(self, count: int = 1) -> None:
        async with asyncio.timeout(10):
            while len(self.answers) < count:
                self.arrived.clear()
                await self.arrived.wait()


class Plain:
    name, is_coroutine, options, kills, slots = "ray", False, "", False, 4

    async def build(self, limits: Limits, **settings: Any) -> Executor:
        raise NotImplementedError


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def told() -> Told:
    return Told()


@pytest.fixture
async def scene(told: Told, clock: ManualClock) -> AsyncIterator[Scene]:
    executor = RemoteExecutor(told, limits=Limits(2000), clock=clock)
    await executor.connect()
    yield Scene(Plain(), executor)
    for answer in told.answers:
        answer.cancel()
    await executor.close()


async def test_call_is_named_after_its_attempt_and_never_twice(scene: Scene, told: Told) -> None:
    dag = scene.dag("return 1")

    for _ in range(2):
        scene.start(scene.attempt(dag, run_id="r", number=3))

    await told.submitted(2)
    assert all(call.key.startswith("r/work/3-") for call in told.calls)
    assert told.calls[0].key != told.calls[1].key


async def test_failure_of_the_cluster_is_the_attempts(scene: Scene, told: Told) -> None:
    scene.start(scene.attempt(scene.dag("return 1")))
    await told.submitted()

    told.answers[0].set_exception(ClusterFailure("WorkerLost", "gone"))

    [outcome] = await scene.outcomes(1)
    assert (outcome.error_type, outcome.message, outcome.permanent) == ("WorkerLost", "gone", False)


async def test_mistake_of_an_engine_ends_the_attempt(scene: Scene, told: Told) -> None:
    scene.start(scene.attempt(scene.dag("return 1")))
    await told.submitted()

    told.answers[0].set_result(b"not a reply")

    [outcome] = await scene.outcomes(1)
    assert outcome.error_type == "ExecutorFailed"


async def test_attempt_that_cannot_be_sent_is_a_permanent_failure(scene: Scene, told: Told) -> None:
    attempt = scene.attempt(replace(scene.dag("return 1"), source="\ud800"))  # a text that no JSON can carry

    scene.start(attempt)

    [outcome] = await scene.outcomes(1)
    assert outcome.error_type == "NotSendable"
    assert outcome.permanent
    assert told.calls == []


async def test_attempt_out_of_time_is_stopped_and_late_answers_are_ignored(
    scene: Scene, told: Told, clock: ManualClock
) -> None:
    attempt = scene.attempt(scene.dag("return 1", options="timeout=5"))
    scene.start(attempt)
    await told.submitted()
    await clock.run_for(500)  # in the cluster's queue, which is not the task's time
    assert scene.reported == []
    begun = told.calls[0].on_start
    assert begun is not None
    begun()

    await clock.run_for(5)

    [outcome] = await scene.outcomes(1)
    assert outcome.error_type == "TaskTimedOut"
    assert told.stopped == [told.calls[0].key]
    assert len(scene.reported) == 1


async def test_cluster_that_does_not_end_a_call_does_not_hold_up_its_outcome(clock: ManualClock) -> None:
    told = Told(stop_seconds=0.05)
    scene = Scene(Plain(), RemoteExecutor(told, limits=Limits(2000), clock=clock))
    await scene.executor.connect()  # type: ignore[attr-defined]
    scene.start(scene.attempt(scene.dag("return 1")))
    await told.submitted()

    scene.executor.cancel("run-1", 0)

    [outcome] = await scene.outcomes(1)
    assert outcome.kind is OutcomeKind.CANCELLED
    await scene.executor.close()


async def test_answer_that_was_there_before_the_cancellation_counts(clock: ManualClock) -> None:
    told = Told(stop_seconds=30)
    scene = Scene(Plain(), RemoteExecutor(told, limits=Limits(2000), clock=clock))
    await scene.executor.connect()  # type: ignore[attr-defined]
    scene.start(scene.attempt(scene.dag("return 1")))
    await told.submitted()
    scene.executor.cancel("run-1", 0)

    told.answers[0].set_result(perform(told.calls[0].request))

    [outcome] = await scene.outcomes(1)
    assert outcome.kind is OutcomeKind.SUCCEEDED
    await scene.executor.close()


async def test_attempt_whose_machine_went_away_is_not_left_pending(
    scene: Scene, told: Told, clock: ManualClock
) -> None:
    told.has = [Machine("one", cpu=2), Machine("two", cpu=2, gpu=1)]
    scene.start(scene.attempt(scene.dag("return 1", options="gpu=1")))
    scene.start(scene.attempt(scene.dag("return 1"), run_id="run-2"))
    await told.submitted(2)
    told.has = [Machine("one", cpu=2)]

    await clock.run_for(30)
    assert scene.reported == []
    await clock.run_for(30)

    [outcome] = await scene.outcomes(1)
    assert (outcome.run_id, outcome.error_type) == ("run-1", "Unschedulable")
    assert not outcome.permanent


async def test_empty_cluster_is_waited_for_and_then_a_failure_that_may_be_tried_again(
    scene: Scene, told: Told, clock: ManualClock
) -> None:
    told.has = []
    scene.start(scene.attempt(scene.dag("return 1")))

    for _ in range(16):
        await clock.run_for(2)

    [outcome] = await scene.outcomes(1)
    assert outcome.error_type == "Unschedulable"
    assert not outcome.permanent


async def test_cluster_that_comes_back_is_joined_again(scene: Scene, told: Told, clock: ManualClock) -> None:
    scene.start(scene.attempt(scene.dag("return 1")))
    await told.submitted()
    told.has = ClusterFailure("ClusterUnreachable", "silence")
    told.answering = False
    for _ in range(4):
        await clock.run_for(30)
    assert (told.rejoined, scene.reported) == (0, [])  # workers can outlive their cluster's head

    told.answering = True
    await clock.run_for(30)

    [outcome] = await scene.outcomes(1)
    assert told.rejoined == 1
    assert not outcome.permanent
    scene.start(scene.attempt(scene.dag("return 1"), run_id="run-2"))
    await told.submitted(2)


@pytest.mark.parametrize(
    ("options", "packs"),
    [
        ("", False),
        ("idempotent=True", True),
        ("idempotent=True, timeout=5", False),
        ("idempotent=True, cpu=1", False),
        ("idempotent=True, environment={'env_vars': {'A': '1'}}", False),
    ],
)
async def test_only_small_idempotent_tasks_share_a_call(
    scene: Scene, told: Told, options: str, packs: bool
) -> None:
    scene.start(scene.attempt(scene.dag("return 1", options=options)))

    await told.submitted()

    assert (len(told.packs), len(told.calls)) == ((1, 0) if packs else (0, 1))


async def test_worker_of_another_contract_is_told_plainly(
    scene: Scene, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.start(scene.attempt(scene.dag("return 1")))
    await told.submitted()
    monkeypatch.setattr("tidemill.executors.remote.worker.CONTRACT", 1)

    told.answers[0].set_result(perform(told.calls[0].request))

    [outcome] = await scene.outcomes(1)
    assert outcome.error_type == "ContractMismatch"
    assert outcome.permanent


async def test_code_travels_once_where_it_is_large(scene: Scene, told: Told) -> None:
    dag = scene.dag("return 1", head="TEXT = '''" + "x" * 20_000 + "'''")
    for run_id in ("a", "b"):
        scene.start(scene.attempt(dag, run_id=run_id))
        await told.submitted(len(told.answers) + 1)
        told.answers[-1].set_result(perform(told.calls[-1].request))
        if run_id == "a":
            await told.submitted(2)
            told.answers[-1].set_result(perform(told.calls[-1].request))
        await scene.outcomes(1 if run_id == "a" else 2)

    assert [len(call.request) > 20_000 for call in told.calls] == [False, True, False]


async def test_seconds_of_workers_are_told(told: Told, clock: ManualClock) -> None:
    seen: list[tuple[str, str, Spent]] = []
    executor = RemoteExecutor(
        InlineCluster("ray"), limits=Limits(2000), observe=lambda *facts: seen.append(facts)
    )
    await executor.connect()
    scene = Scene(Plain(), executor)

    await scene.result("time.sleep(0.01)\nreturn 1")

    [(name, dag, spent)] = seen
    assert (name, dag) == ("ray", "d")
    assert 0.01 <= spent.seconds < spent.seconds + spent.waiting_seconds
    assert 0 < spent.cpu_seconds < spent.seconds
    await executor.close()


class InlineAdapter:
    """The cluster that is this process."""

    name, is_coroutine, options, kills, slots = "ray", False, "", False, 4

    async def build(self, limits: Limits, *, root: Path | None = None, **settings: Any) -> Executor:
        cluster = InlineCluster("ray", machine=Machine("here", cpu=2, memory=1 << 30))
        executor = RemoteExecutor(cluster, limits=limits, root=root)
        await executor.connect()
        return executor


class TestInline(ClusterConformance):
    """The suite without an engine, but for what needs a process that can be killed."""

    test_task_is_called_in_another_process = None  # type: ignore[assignment]
    test_killed_worker_is_a_failure_that_may_be_tried_again = None  # type: ignore[assignment]
    test_task_of_a_killed_worker_is_called_once = None  # type: ignore[assignment]
    test_code_that_makes_another_graph_elsewhere_is_refused = None  # type: ignore[assignment]
    test_lines_of_the_task_are_logged_with_its_names = None  # type: ignore[assignment]

    @pytest.fixture
    async def adapter(self) -> ExecutorAdapter:
        return InlineAdapter()
