"""A run ends on the version that it began with, with the modules beside its file as they were then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tidemill.testing.harness import Harness

WORKFLOW = """
from tidemill import dag, task
from _rate import RATE, rate_of
from datetime import timedelta

@task(retries=1, retry_delay=timedelta(hours=1))
async def first(n: int, mark: str) -> int:
    from pathlib import Path
    if not Path(mark).exists():
        raise OSError("not yet")
    return n * RATE

@task
async def second(n: int) -> int:
    return n + rate_of()

@dag
def uses(mark: str):
    return second(first(1, mark))
"""


def write_rate(root: Path, rate: int) -> None:
    text = f"RATE = {rate}\n\ndef rate_of():\n    return RATE * 100\n"
    (root / "workflows" / "_rate.py").write_text(text, "utf-8")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows" / "uses.py").write_text(WORKFLOW, "utf-8")
    write_rate(tmp_path, 1)
    return tmp_path


async def test_run_of_an_older_version_finds_its_modules_as_they_were_after_a_restart(root: Path) -> None:
    mark = root / "mark"
    async with Harness(root=root) as harness:
        old = await harness.start("uses", mark=str(mark))
        await harness.run_until_idle()
        write_rate(root, 2)
        mark.touch()

        await harness.restart()
        new = await harness.start("uses", mark=str(mark))
        await harness.run_until_done()

        assert [(await harness.run(run)).result("second") for run in (old, new)] == [101, 202]
        versions = {(await harness.run(run)).summary.version for run in (old, new)}
        assert len(versions) == 2


async def test_run_of_an_older_version_goes_on_when_its_modules_are_gone(root: Path) -> None:
    mark = root / "mark"
    async with Harness(root=root) as harness:
        old = await harness.start("uses", mark=str(mark))
        await harness.run_until_idle()
        (root / "workflows" / "uses.py").unlink()
        (root / "workflows" / "_rate.py").unlink()
        mark.touch()

        await harness.restart()
        await harness.run_until_done()

        assert (await harness.run(old)).result("second") == 101


async def test_run_of_an_older_version_ends_on_it_after_a_reload(root: Path) -> None:
    from tidemill.project.load import load

    mark = root / "mark"
    async with Harness(root=root) as harness:
        old = await harness.start("uses", mark=str(mark))
        await harness.run_until_idle()
        write_rate(root, 2)
        mark.touch()

        project: Any = load(root)
        await harness._engine.replace_dags(project.dags)
        await harness.run_until_done()

        run = await harness.run(old)
        assert (run.result("second"), run.summary.version) != (202, project.dags["uses"].version)
        assert run.result("second") == 101
