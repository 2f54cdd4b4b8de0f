"""Many attempts in one request: what crosses once, what is sent again, what one of them does to the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.conformance.executors import Scene
from tests.unit.executors.test_remote import Plain, Told

from tidemill.executors.remote.executor import RemoteExecutor
from tidemill.executors.remote.outcomes import ClusterFailure
from tidemill.executors.remote.ray_frames import Frames, Kind, Outgoing, join, split
from tidemill.executors.remote.request import Limits
from tidemill.executors.remote.worker import perform_pack
from tidemill.runs.attempts import OutcomeKind
from tidemill.testing.clock import ManualClock

OPTIONS = "idempotent=True"


@pytest.fixture
async def told() -> Told:
    return Told()


@pytest.fixture
async def scene(told: Told) -> AsyncIterator[Scene]:
    executor = RemoteExecutor(told, limits=Limits(2000), pack_size=3, clock=ManualClock())
    await executor.connect()
    yield Scene(Plain(), executor)
    for answer in told.answers:
        answer.cancel()
    await executor.close()


async def test_attempts_that_wait_go_out_together_up_to_the_size(scene: Scene, told: Told) -> None:
    dag = scene.dag(
        "if n == 1: raise ValueError(n)\nreturn n", takes="n", gives="n", run="n: int", options=OPTIONS
    )
    for number in range(7):
        scene.start(scene.attempt(dag, run_id=f"run-{number}", parameters={"n": number}))
    for sent in (1, 2, 3):
        await told.submitted(sent)
        told.answers[sent - 1].set_result(perform_pack(told.packs[sent - 1]))

    outcomes = {one.run_id: one for one in await scene.outcomes(7)}

    assert len(told.packs) == 3
    assert [one.run_id for one in outcomes.values() if one.kind is OutcomeKind.FAILED] == ["run-1"]
    assert all(int(one.result) == int(name[4:]) for name, one in outcomes.items() if name != "run-1")


async def test_code_is_sent_once_and_again_to_a_worker_that_lost_it(
    scene: Scene, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    dag = scene.dag("return 1", head="TEXT = '''" + "x" * 20_000 + "'''", options=OPTIONS)
    for number in range(2):
        scene.start(scene.attempt(dag, run_id=f"run-{number}"))
        await told.submitted(number + 1)
        if number:
            monkeypatch.setattr("tidemill.executors.remote.worker._definitions", _fresh())
        told.answers[number].set_result(perform_pack(told.packs[number]))
        if number == 0:
            await scene.outcomes(1)
    await told.submitted(3)
    told.answers[2].set_result(perform_pack(told.packs[2]))

    outcomes = await scene.outcomes(2)

    assert [len(pack) > 20_000 for pack in told.packs] == [True, False, True]
    assert [one.result for one in outcomes] == [b"1", b"1"]


def _fresh() -> object:
    from tidemill.executors.remote.definitions import Definitions

    return Definitions()


async def test_cancelled_attempt_is_reported_and_its_answer_ignored(scene: Scene, told: Told) -> None:
    dag = scene.dag("return 1", options=OPTIONS)
    scene.start(scene.attempt(dag, run_id="a"))
    scene.start(scene.attempt(dag, run_id="b"))
    await told.submitted()

    scene.executor.cancel("a", 0)
    assert [(one.run_id, one.kind) for one in await scene.outcomes(1)] == [("a", OutcomeKind.CANCELLED)]
    told.answers[0].set_result(perform_pack(told.packs[0]))

    assert [one.run_id for one in await scene.outcomes(2)] == ["a", "b"]


async def test_worker_that_dies_fails_all_that_it_held(scene: Scene, told: Told) -> None:
    dag = scene.dag("return 1", options=OPTIONS)
    for run_id in ("a", "b"):
        scene.start(scene.attempt(dag, run_id=run_id))
    await told.submitted()

    told.answers[0].set_exception(ClusterFailure("WorkerLost", "gone"))

    assert [(one.error_type, one.permanent) for one in await scene.outcomes(2)] == [("WorkerLost", False)] * 2


async def test_attempts_wait_while_the_cluster_is_away(scene: Scene, told: Told) -> None:
    dag = scene.dag("return 1", options=OPTIONS)
    scene.start(scene.attempt(dag, run_id="under-way"))
    await told.submitted()

    told.lost()
    scene.start(scene.attempt(dag, run_id="later"))

    assert [(one.run_id, one.error_type) for one in await scene.outcomes(1)] == [("under-way", "ClusterLost")]
    await told.submitted(2)
    told.answers[1].set_result(perform_pack(told.packs[1]))
    assert [one.result for one in (await scene.outcomes(2))[1:]] == [b"1"]
    assert told.rejoined == 1


async def test_pack_of_another_contract_is_told_plainly(
    scene: Scene, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.start(scene.attempt(scene.dag("return 1", options=OPTIONS)))
    await told.submitted()
    monkeypatch.setattr("tidemill.executors.remote.worker.CONTRACT", 1)

    told.answers[0].set_result(perform_pack(told.packs[0]))

    [outcome] = await scene.outcomes(1)
    assert (outcome.error_type, outcome.permanent) == ("ContractMismatch", True)


@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_frames_arrive_however_they_are_cut(size: int) -> None:
    written: list[bytes] = []

    class Transport(asyncio.WriteTransport):
        def is_closing(self) -> bool:
            return False

        def writelines(self, list_of_data: Any) -> None:
            written.extend(list_of_data)

    outgoing = Outgoing(Transport())
    outgoing.send(Kind.CALL, 7, join(b"head", b"rest" * 9))
    outgoing.send(Kind.STOP, 1 << 40)
    await asyncio.sleep(0)
    stream, frames = b"".join(written), Frames()

    found = [one for at in range(0, len(stream), size) for one in frames.feed(stream[at : at + size])]

    assert [(kind, call) for kind, call, _ in found] == [(Kind.CALL, 7), (Kind.STOP, 1 << 40)]
    assert split(found[0][2]) == (b"head", b"rest" * 9)
