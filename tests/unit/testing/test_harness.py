"""The harness as users see it, and the plug-in that hands it out."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from tidemill import dag, task
from tidemill.errors import DefinitionError, NotFound, ProjectLocked, StoreUnavailable
from tidemill.storage.sqlite import open_store
from tidemill.testing.faults import LoseAnswers
from tidemill.testing.harness import Harness, HarnessError, MakeHarness


@task(retries=1, retry_delay=30)
async def step(value: int) -> int:
    if value < 0:
        raise ValueError("negative")
    return value


@dag
def work(value: int = 1) -> Any:
    return step(value)


TRIGGERS = """
    triggers:
      - {name: go, dag: work, filters: [{exact: {type: go}}], parameters: {value: $.data}}
"""


async def test_harness_runs_events_until_there_is_nothing_left_to_do(tidemill_harness: MakeHarness) -> None:
    async with tidemill_harness(dags=[work], triggers=TRIGGERS) as harness:
        await harness.send(type="go", data=5)
        await harness.send(type="go", data=-5)
        await harness.run_until_idle()
        assert sorted(run.state for run in await harness.runs()) == ["running", "succeeded"]
        before = harness.clock.now_us()
        await harness.run_until_done()

        assert 25e6 < harness.clock.now_us() - before < 35e6
        assert [run.state for run in await harness.runs(state="failed")] == ["failed"]
        assert await harness.runs(dag="other") == []


async def test_harness_says_what_it_waits_for_when_time_brings_nothing(
    monkeypatch: pytest.MonkeyPatch, tidemill_harness: MakeHarness
) -> None:
    monkeypatch.setattr("tidemill.testing.harness._PATIENCE", 0.05)

    @task
    async def hang() -> None:
        await asyncio.Event().wait()

    @dag
    def endless() -> Any:
        return hang()

    async with tidemill_harness(dags=[endless]) as harness:
        await harness.start("endless")
        with pytest.raises(HarnessError, match="1 live runs, 1 attempts running"):
            await harness.run_until_done()


async def test_harness_finds_what_was_committed_although_the_answer_was_lost(
    tidemill_harness: MakeHarness,
) -> None:
    async with tidemill_harness(dags=[work], triggers=TRIGGERS) as harness:
        lost = LoseAnswers("append")
        harness.faults.append(lost)
        with pytest.raises(StoreUnavailable):
            await harness.send(type="go", data=1)
        await harness.run_until_idle()

        assert lost.failed == 1
        assert [run.state for run in await harness.runs()] == ["succeeded"]


async def test_kill_drops_what_is_not_on_disk_and_lets_go_of_the_database() -> None:
    async with Harness(dags=[work], triggers=TRIGGERS) as harness:
        await harness.send(type="go", data=1)
        unfinished = asyncio.ensure_future(harness.store.log.append(_append("go", "lost")))
        await asyncio.sleep(0)
        with pytest.raises(ProjectLocked):
            await open_store(harness.database, clock=harness.clock)
        await harness.kill()
        assert not harness.is_running
        assert not harness.database.with_suffix(".clean").exists()
        with pytest.raises(HarnessError):
            await harness.runs()
        unfinished.cancel()
        await harness.restart()
        await harness.run_until_idle()

        assert len(await harness.runs()) <= 2


def _append(kind: str, identity: str) -> Any:
    from tidemill.events.event import Event
    from tidemill.storage.contract import Append

    return Append(events=[Event(id=identity, source="/x", type=kind, data=1)])


async def test_stop_is_clean() -> None:
    async with Harness(dags=[work]) as harness:
        await harness.stop()

        assert harness.database.with_suffix(".clean").exists()


async def test_asking_for_a_run_that_is_not_there_says_so(tidemill_harness: MakeHarness) -> None:
    async with tidemill_harness(dags=[work]) as harness:
        with pytest.raises(NotFound):
            await harness.run("nobody")


async def test_definitions_are_checked_as_in_a_project(tmp_path: Path, tidemill_harness: MakeHarness) -> None:
    with pytest.raises(DefinitionError, match="there is no DAG 'other'"):
        async with tidemill_harness(dags=[work], triggers=TRIGGERS.replace("dag: work", "dag: other")):
            pass
    with pytest.raises(ValueError, match="not both"):
        async with tidemill_harness(dags=[work], root=tmp_path):
            pass


async def test_trigger_may_not_take_a_name_that_our_own_runs_carry(tidemill_harness: MakeHarness) -> None:
    for name in ("manual", "retry", "schedule"):
        with pytest.raises(DefinitionError, match="take another"):
            async with tidemill_harness(dags=[work], triggers=TRIGGERS.replace("name: go", f"name: {name}")):
                pass


def test_plugin_hands_out_harnesses(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        dedent(
            """
            import asyncio
            from tidemill import dag, task

            @task
            async def one():
                return 1

            @dag
            def flow():
                return one()

            def test_flow(tidemill_harness):
                async def play():
                    async with tidemill_harness(dags=[flow]) as harness:
                        run_id = await harness.start("flow")
                        await harness.run_until_done()
                        return (await harness.run(run_id)).result("one")

                assert asyncio.run(play()) == 1
            """
        )
    )

    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False)

    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


def test_plugin_imports_next_to_nothing() -> None:
    program = (
        "import sys; before = set(sys.modules); import tidemill.testing.plugin;"
        "print([name for name in ('fastapi', 'pydantic', 'aiosqlite', 'uvicorn') if name in sys.modules])"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )

    assert done.stdout == "[]\n"
