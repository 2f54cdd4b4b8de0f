"""Stopping in order under load, refusing a second server, and runs that kill the service."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest
from tests.acceptance.evidence import connect, read_lines
from tests.acceptance.notes import wait_until
from tests.acceptance.scene import Scene, staged

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(240)]


async def _wait_for_acknowledgements(scene: Scene, count: int) -> None:
    sent = scene.folder / "sent.jsonl"
    await wait_until(lambda: sum(line["what"] == "ack" for line in read_lines(sent)) >= count)


async def test_service_answers_every_request_and_loses_nothing_when_stopped_under_load(
    tmp_path: Path, postgres: str | None
) -> None:
    settings = {"TIDEMILL_DRAIN_SECONDS": "1"}
    async with staged(tmp_path, postgres=postgres, settings=settings, keep_alive=False) as scene:
        # Jobs run for minutes: they are cut off, and go on after the restart until they are cancelled.
        load = scene.send(pause=0.01)

        for count in (100, 300, 500):
            await scene.server.start()
            await _wait_for_acknowledgements(scene, count)
            scene.server.terminate()
            assert await scene.server.wait(20.0) == 0, scene.server.log_tail()
            load.raise_failure()
        await scene.server.start()
        await load.finish()
        await scene.settle()

        assert scene.client.cut == []
        assert await scene.stop_and_check() == []


async def test_second_server_on_a_project_is_refused_and_harms_nothing(tmp_path: Path) -> None:
    async with staged(tmp_path) as scene:
        load = scene.send(modes=("structured",), files=False, jobs=False)
        await scene.server.start()
        await _wait_for_acknowledgements(scene, 10)

        second = scene.server.spawn()
        try:
            code = await asyncio.to_thread(second.wait, 20)
        finally:
            second.kill()
            second.wait()
        assert code == 2
        assert "another process" in scene.server.log_tail()
        await load.finish()
        await scene.settle()

        assert await scene.stop_and_check() == []


async def test_run_that_kills_the_service_is_parked_and_the_rest_goes_on(
    tmp_path: Path, postgres: str | None
) -> None:
    async with staged(tmp_path, postgres=postgres, settings={"TIDEMILL_MAX_RECOVERIES": "2"}) as scene:
        await scene.server.start()
        await scene.post("com.example.poison", "poison-1")

        codes = [await scene.server.wait(10.0)]
        for _ in range(2):
            await scene.server.start(may_die=True)
            codes.append(await scene.server.wait(10.0))
        await scene.server.start()
        load = scene.send(modes=("structured",), files=False, jobs=False)
        await _wait_for_acknowledgements(scene, 10)
        await load.finish()
        await scene.settle()

        assert codes == [-signal.SIGKILL] * 3
        assert await scene.stop_and_check() == []
        with connect(scene.database) as database:
            runs = database.execute("SELECT state, count(*) FROM runs WHERE dag = 'poison'").fetchall()
        assert runs == [("failed", 1)]
