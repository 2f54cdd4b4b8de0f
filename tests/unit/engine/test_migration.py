"""A run goes on with another version of its DAG when somebody asks for it and what it has done fits."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from tidemill.errors import NotFound
from tidemill.project.load import load
from tidemill.runs.records import RunMigrated
from tidemill.testing.faults import FailCommits
from tidemill.testing.harness import Harness

HEAD = """
from datetime import timedelta
from pathlib import Path
from tidemill import Retry, dag, task

@task
async def first(mark: str) -> int:
    return 1

@task(retry=Retry(max_attempts=50, delay=timedelta(hours=1), max_delay=timedelta(hours=1), jitter=0))
async def second(n: int, mark: str) -> int:
    if not Path(mark).exists():
        raise OSError("not yet")
    return n + {add}

@task
async def third(n: int) -> int:
    return n * 100
"""
BEFORE = (
    HEAD.format(add=1)
    + """
@dag(max_active_runs=1)
def flow(mark: str):
    return third(second(first(mark), mark))
"""
)
AFTER = (
    HEAD.format(add=10)
    + """
@task
async def between(n: int) -> int:
    return n + 5

@dag(max_active_runs=1)
def flow(mark: str, more: int = 3):
    return third(between(second(first(mark), mark)))
"""
)
#: `second` has begun, and would have to wait.
UNFIT = (
    HEAD.format(add=10)
    + """
@task
async def before(mark: str) -> int:
    return 1

@dag(max_active_runs=1)
def flow(mark: str):
    return third(second(before(mark), mark))
"""
)
SHORTER = (
    HEAD.format(add=10)
    + """
@dag(max_active_runs=1)
def flow(mark: str):
    return first(mark)
"""
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "workflows").mkdir()
    write(tmp_path, BEFORE)
    return tmp_path


def write(root: Path, text: str) -> None:
    (root / "workflows" / "flow.py").write_text(text, "utf-8")


async def reload(harness: Harness, root: Path, text: str) -> str:
    """Make other definitions live; their version."""
    write(root, text)
    project: Any = load(root)
    await harness._engine.replace_dags(project.dags)
    return str(project.dags["flow"].version)


async def test_run_goes_on_with_the_new_version_from_where_it_is(root: Path) -> None:
    mark = root / "mark"
    async with Harness(root=root) as harness:
        run = await harness.start("flow", mark=str(mark))
        await harness.run_until_idle()
        was = (await harness.run(run)).summary.version
        version = await reload(harness, root, AFTER)

        await harness.store.runs.request(run, f"migrate:{version}", "ann")
        await harness.run_until_idle()
        mark.touch()
        await harness.run_until_done()

        ended = await harness.run(run)
        assert (ended.state, ended.summary.version) == ("succeeded", version)
        assert ended.result("third") == 1600
        assert [one for one in ended.records if isinstance(one, RunMigrated)] == [
            RunMigrated(version, was, "ann")
        ]
        assert ended.tasks["first"].attempts == 1
        assert await harness.store.runs.requests() == []


async def test_moved_run_is_read_back_after_a_death(root: Path) -> None:
    mark = root / "mark"
    async with Harness(root=root) as harness:
        run = await harness.start("flow", mark=str(mark))
        await harness.run_until_idle()
        version = await reload(harness, root, AFTER)
        await harness.store.runs.request(run, f"migrate:{version}", "ann")
        await harness.run_until_idle()

        await harness.restart()
        mark.touch()
        await harness.run_until_done()

        ended = await harness.run(run)
        assert (ended.state, ended.result("third")) == ("succeeded", 1600)


async def test_run_that_does_not_fit_stays_on_its_version(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mark = root / "mark"
    async with Harness(root=root) as harness:
        run = await harness.start("flow", mark=str(mark))
        await harness.run_until_idle()
        was = (await harness.run(run)).summary.version
        version = await reload(harness, root, UNFIT)

        with caplog.at_level(logging.WARNING):
            await harness.store.runs.request(run, f"migrate:{version}", "ann")
            await harness.run_until_idle()
        mark.touch()
        await harness.run_until_done()

        ended = await harness.run(run)
        assert (ended.state, ended.summary.version, ended.result("third")) == ("succeeded", was, 200)
        (refused,) = [one for one in caplog.records if one.message == "run.not_migrated"]
        assert "'before', which has not ended" in str(refused.__dict__["reasons"])


async def test_run_with_nothing_left_to_do_in_the_new_version_ends(root: Path) -> None:
    async with Harness(root=root, pools={"paused": 0}) as harness:
        write(
            root,
            BEFORE.replace("second(first(mark), mark)", "second.override(pool='paused')(first(mark), mark)"),
        )
        await harness.restart()
        run = await harness.start("flow", mark="none")
        await harness.run_until_idle()
        version = await reload(harness, root, SHORTER)

        await harness.store.runs.request(run, f"migrate:{version}", "ann")
        await harness.run_until_idle()

        ended = await harness.run(run)
        assert (ended.state, list(ended.tasks)) == ("succeeded", ["first"])


async def test_queued_run_begins_with_the_version_that_it_is_moved_to(root: Path) -> None:
    mark = root / "mark"
    async with Harness(root=root) as harness:
        first = await harness.start("flow", mark=str(mark))
        queued = await harness.start("flow", mark=str(mark))
        await harness.run_until_idle()
        assert (await harness.run(queued)).state == "queued"
        version = await reload(harness, root, AFTER)

        await harness.store.runs.request(queued, f"migrate:{version}", "ann")
        await harness.run_until_idle()
        mark.touch()
        await harness.run_until_done()

        ended = [await harness.run(run) for run in (first, queued)]
        assert [one.result("third") for one in ended] == [200, 1600]
        assert ended[1].summary.version == version


async def test_unknown_version_and_unknown_run_change_nothing(root: Path) -> None:
    mark = root / "mark"
    async with Harness(root=root) as harness:
        run = await harness.start("flow", mark=str(mark))
        await harness.run_until_idle()

        await harness.store.runs.request(run, "migrate:nowhere", "ann")
        await harness.store.runs.request("nobody", "migrate:nowhere", "ann")
        await harness.run_until_idle()
        mark.touch()
        await harness.run_until_done()

        assert (await harness.run(run)).result("third") == 200
        assert await harness.store.runs.requests() == []
        with pytest.raises(NotFound):
            await harness.run("nobody")


@pytest.mark.parametrize("point", ["record.before_commit", "record.after_commit"])
async def test_death_while_a_run_is_moved_moves_it_once_or_not_at_all(root: Path, point: str) -> None:
    mark = root / "mark"
    async with Harness(root=root) as harness:
        run = await harness.start("flow", mark=str(mark))
        await harness.run_until_idle()
        version = await reload(harness, root, AFTER)
        await harness.store.runs.request(run, f"migrate:{version}", "ann")

        harness.crash_at(point)
        await harness.run_until_idle()
        await harness.restart()
        await harness.run_until_idle()
        mark.touch()
        await harness.run_until_done()

        ended = await harness.run(run)
        assert (ended.state, ended.result("third"), ended.summary.version) == ("succeeded", 1600, version)
        assert len([one for one in ended.records if isinstance(one, RunMigrated)]) == 1


@pytest.mark.parametrize("point", ["record.before_commit", "record.after_commit"])
async def test_move_whose_commit_fails_or_whose_answer_is_lost_is_made_once(root: Path, point: str) -> None:
    mark = root / "mark"
    async with Harness(root=root) as harness:
        run = await harness.start("flow", mark=str(mark))
        await harness.run_until_idle()
        version = await reload(harness, root, AFTER)
        await harness.store.runs.request(run, f"migrate:{version}", "ann")

        harness.faults.append(FailCommits(point))
        await harness.run_until_idle()
        await harness.advance(60)
        mark.touch()
        await harness.run_until_done()

        ended = await harness.run(run)
        assert (ended.state, ended.result("third"), ended.summary.version) == ("succeeded", 1600, version)
        assert len([one for one in ended.records if isinstance(one, RunMigrated)]) == 1


async def test_move_is_judged_by_what_is_on_the_disk_once_it_is(root: Path) -> None:
    mark = root / "mark"
    async with Harness(root=root) as harness:
        run = await harness.start("flow", mark=str(mark))
        await harness.run_until_idle()
        version = await reload(harness, root, AFTER)

        harness.faults.append(FailCommits("record.before_commit", 3))
        await harness.advance(3600)  # the retry is due; what it decides cannot be written
        await harness.store.runs.request(run, f"migrate:{version}", "ann")
        await harness.run_until_idle(attempts=False)
        await harness.advance(60)
        mark.touch()
        await harness.run_until_done()

        ended = await harness.run(run)
        # By then the task had begun again: a run of which something runs stays on its version.
        assert (ended.state, ended.result("third"), ended.summary.version != version) == (
            "succeeded",
            200,
            True,
        )
        assert await harness.store.runs.requests() == []
