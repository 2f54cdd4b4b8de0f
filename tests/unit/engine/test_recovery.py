"""Another life: runs go on from what is on disk, on the definition they began with; what cannot harms no other."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from pathlib import Path
from textwrap import dedent
from typing import Any

import asyncpg
import pytest
from tests.unit.engine.checks import check_store

from tidemill import Context, dag, task
from tidemill.errors import StorageError
from tidemill.storage.contract import Recorded
from tidemill.testing.harness import MakeHarness


def write(root: Path, name: str, text: str) -> None:
    path = root / "workflows" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(dedent(text))


#: Waits between its two tasks for its retry, so that another life finds it half done.
VERSION_1 = """
    from tidemill import dag, task, Context
    from words import GREETING

    @task(retries=1, retry_delay=60)
    async def first(context: Context):
        if context.attempt == 1:
            raise ValueError("later")
        return GREETING

    @task
    async def second(value):
        return value + " from version 1"

    @dag(max_active_runs=1)
    def work():
        return second(first())
"""
VERSION_2 = """
    from tidemill import dag, task

    @task
    async def only():
        return "from version 2"

    @dag(max_active_runs=1)
    def work():
        return only()
"""


async def test_run_ends_on_the_version_it_began_with_or_was_queued_for(
    tmp_path: Path, tidemill_harness: MakeHarness
) -> None:
    write(tmp_path, "_words.py", "")
    write(tmp_path, "flow.py", VERSION_1)
    write(tmp_path, "words.py", "GREETING = 'hello'")

    async with tidemill_harness(root=tmp_path) as harness:
        begun, queued = [await harness.start("work") for _ in range(2)]
        await harness.run_until_idle()
        write(tmp_path, "flow.py", VERSION_2)
        await harness.restart()
        new = await harness.start("work")
        await harness.run_until_done()

        for run_id in (begun, queued):
            run = await harness.run(run_id)
            assert (run.state, run.states) == ("succeeded", {"first": "succeeded", "second": "succeeded"})
            assert run.result("second") == "hello from version 1"
        assert (await harness.run(new)).result("only") == "from version 2"
        assert (await harness.run(new)).summary.version != run.summary.version
        await check_store(harness, ended=3)


async def test_run_whose_source_cannot_be_had_fails_with_the_reason_and_others_go_on(
    tmp_path: Path, tidemill_harness: MakeHarness
) -> None:
    write(tmp_path, "flow.py", VERSION_1)
    # The modules beside a file are kept with its version; what these read besides is not.
    (tmp_path / "greeting.txt").write_text("hello")
    write(
        tmp_path,
        "words.py",
        f"""
        from pathlib import Path

        GREETING = Path({str(tmp_path / "greeting.txt")!r}).read_text()
        """,
    )

    async with tidemill_harness(root=tmp_path) as harness:
        begun, queued = [await harness.start("work") for _ in range(2)]
        await harness.run_until_idle()
        write(tmp_path, "flow.py", VERSION_2)
        (tmp_path / "workflows" / "words.py").unlink()
        (tmp_path / "greeting.txt").unlink()
        await harness.restart()
        new = await harness.start("work")
        await harness.run_until_done()

        assert [(await harness.run(run_id)).state for run_id in (begun, queued)] == ["failed", "failed"]
        reasons = [
            event.data["error"]["reason"] for event in await harness.events(type="dev.tidemill.run.failed.v1")
        ]
        assert sorted(reason.split(":")[0] for reason in reasons) == [
            "the run cannot go on",
            "the run cannot start",
        ]
        assert all("greeting.txt" in reason for reason in reasons)
        assert (await harness.run(new)).state == "succeeded"
        await check_store(harness, ended=3)


async def test_run_whose_version_was_never_kept_fails_with_the_reason(tidemill_harness: MakeHarness) -> None:
    @task
    async def hang(name: str) -> None:
        await asyncio.Event().wait()

    @dag(dag_id="work")
    def work() -> Any:
        return hang("a")

    @dag(dag_id="work")
    def changed() -> Any:
        return hang.override(task_id="other")("b")

    async with tidemill_harness(dags=[work]) as harness:
        run_id = await harness.start("work")
        await harness.run_until_idle(attempts=False)
        await harness.restart(dags=[changed])
        await harness.run_until_idle(attempts=False)

        run = await harness.run(run_id)
        assert run.state == "failed"
        assert run.states == {"hang": "cancelled"}
        await check_store(harness, ended=1)


async def test_tasks_of_a_recovered_run_go_on_where_they_were(tidemill_harness: MakeHarness) -> None:
    calls: list[tuple[str, int]] = []
    hanging = True

    @task(retries=1, retry_delay=100)
    async def step(context: Context, how: str, *after: Any) -> str:
        calls.append((context.task_id, context.attempt))
        if hanging and how == "hang":
            await asyncio.Event().wait()
        if context.attempt == 1 and how == "fail":
            raise ValueError
        return how

    @dag
    def work() -> Any:
        done = step.override(task_id="done")(how="ok")
        hung = step.override(task_id="hung", depends_on=[done])(how="hang")
        failing = step.override(task_id="failing", depends_on=[done])(how="fail")
        return step.override(task_id="last", depends_on=[hung, failing])(how="ok")

    async with tidemill_harness(dags=[work]) as harness:
        run_id = await harness.start("work")
        await harness.advance(10)
        assert sorted(calls) == [("done", 1), ("failing", 1), ("hung", 1)]
        due_at = (await harness.run(run_id)).tasks["failing"].retry_at
        hanging = False
        await harness.restart()
        await harness.run_until_idle()
        assert calls[3:] == [("hung", 2)], "the lost attempt at once, the retry in its time"
        assert (await harness.run(run_id)).tasks["failing"].retry_at == due_at
        await harness.run_until_done()

        assert calls[4:] == [("failing", 2), ("last", 1)]
        assert (await harness.run(run_id)).state == "succeeded"
        await check_store(harness, ended=1)


async def test_retry_that_became_due_while_nothing_ran_begins_at_once(tidemill_harness: MakeHarness) -> None:
    calls = []

    @task(retries=1, retry_delay=100)
    async def flaky() -> None:
        calls.append(1)
        if len(calls) == 1:
            raise ValueError

    @dag
    def work() -> Any:
        return flaky()

    async with tidemill_harness(dags=[work]) as harness:
        await harness.start("work")
        await harness.run_until_idle()
        await harness.kill()
        await harness.advance(1_000)
        await harness.restart()
        await harness.run_until_idle()

        assert len(calls) == 2
        await check_store(harness, ended=1)


@task
async def quick() -> int:
    return 1


@task(retries=1, retry_delay=60)
async def later(value: int, context: Context) -> int:
    if context.attempt == 1:
        raise ValueError
    return value


@dag
def tampered() -> Any:
    return later(quick())


#: Statements that spoil the history of the run numbered 1, as no process of ours would.
DAMAGE = {
    "no JSON": "UPDATE history SET body = CAST('{' AS BLOB) WHERE run = 1 AND sequence = 1",
    "no records": "UPDATE history SET body = CAST('[1,null]' AS BLOB) WHERE run = 1 AND sequence = 1",
    "no list": "UPDATE history SET body = CAST('7' AS BLOB) WHERE run = 1 AND sequence = 1",
    "unknown record": """UPDATE history SET body = CAST('[["exploded"]]' AS BLOB) WHERE run = 1 AND sequence = 1""",
    "fields missing": """UPDATE history SET body = CAST('[["task_failed","quick",1]]' AS BLOB)
        WHERE run = 1 AND sequence = 1""",
    "unknown task": """UPDATE history SET body = CAST('[["task_started","x",1]]' AS BLOB)
        WHERE run = 1 AND sequence = 1""",
    "row missing": "DELETE FROM history WHERE run = 1 AND sequence = 1",
    "first row missing": "DELETE FROM history WHERE run = 1 AND sequence = 0",
    "all missing": "DELETE FROM history WHERE run = 1",
    "ended already": """UPDATE history SET body = CAST('[["run_ended","failed","x"]]' AS BLOB)
        WHERE run = 1 AND sequence = (SELECT max(sequence) FROM history WHERE run = 1)""",
}


async def tamper(file: Path, url: str | None, statement: str) -> None:
    if url is None:
        with contextlib.closing(sqlite3.connect(file)) as database, database:
            database.execute(statement)
        return
    connection = await asyncpg.connect(url)
    await connection.execute(statement.replace("AS BLOB", "AS BYTEA"))
    await connection.close()


@pytest.mark.parametrize("damage", DAMAGE)
async def test_run_whose_history_was_tampered_with_is_abandoned_and_the_stage_goes_on(
    damage: str,
    caplog: pytest.LogCaptureFixture,
    tidemill_harness: MakeHarness,
    tidemill_database_url: str | None,
) -> None:
    async with tidemill_harness(dags=[tampered]) as harness:
        await harness.start("tampered")
        await harness.run_until_idle()
        await harness.start("tampered")
        await harness.run_until_idle()
        await harness.kill()
        await tamper(harness.database, tidemill_database_url, DAMAGE[damage])
        await harness.restart()
        await harness.run_until_done()

        assert sorted(run.state for run in await harness.runs()) == ["failed", "succeeded"]
        (failed,) = await harness.events(type="dev.tidemill.run.failed.v1")
        assert failed.data["error"]["reason"].startswith("the run cannot go on: ")
        assert [record.message for record in caplog.records].count("run.abandoned") == 1


async def test_second_writer_ends_the_stage_and_is_not_passed_over(tidemill_harness: MakeHarness) -> None:
    async with tidemill_harness(dags=[tampered]) as harness:
        run_id = await harness.start("tampered")
        await harness.run_until_idle()
        await harness.store.runs.record(
            [Recorded(run_id, len((await harness.run(run_id)).history), 1, b"[]")]
        )

        with pytest.raises(StorageError):
            await harness.advance(120)


async def test_stop_lets_attempts_end_starts_nothing_and_loses_nothing(tidemill_harness: MakeHarness) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()
    calls = []

    @task
    async def slow() -> int:
        calls.append("slow")
        begun.set()
        await go_on.wait()
        return 5

    @task
    async def after(value: int) -> int:
        calls.append("after")
        return value + 1

    @dag
    def work() -> Any:
        return after(slow())

    async with tidemill_harness(dags=[work]) as harness:
        run_id = await harness.start("work")
        await harness.run_until_idle(attempts=False)
        stopping = asyncio.ensure_future(harness.stop())
        await begun.wait()
        assert not stopping.done()
        go_on.set()
        await stopping
        assert calls == ["slow"]
        await harness.restart()
        assert (await harness.run(run_id)).states == {"slow": "succeeded", "after": "ready"}
        await harness.run_until_idle()

        run = await harness.run(run_id)
        assert calls == ["slow", "after"]
        assert (run.result("after"), run.tasks["slow"].attempts) == (6, 1)
        await check_store(harness, ended=1)


async def test_attempts_cut_off_after_a_drain_in_vain_are_lost_and_not_cancelled(
    tidemill_harness: MakeHarness,
) -> None:
    hanging = True

    @task
    async def slow() -> int:
        if hanging:
            await asyncio.Event().wait()
        return 5

    @task
    async def after(value: int) -> int:
        return value + 1

    @dag
    def work() -> Any:
        return after(slow())

    async with tidemill_harness(dags=[work]) as harness:
        run_id = await harness.start("work")
        await harness.run_until_idle(attempts=False)
        await harness.stop(drain_seconds=0)
        hanging = False
        await harness.restart()
        await harness.run_until_idle()

        run = await harness.run(run_id)
        assert (run.state, run.result("after"), run.tasks["slow"].attempts) == ("succeeded", 6, 2)
        await check_store(harness, ended=1)
