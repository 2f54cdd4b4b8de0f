"""An edit of the folders goes live as a whole, or not at all."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from tidemill.errors import SettingsError, StoreUnavailable
from tidemill.project.load import load
from tidemill.project.model import Project
from tidemill.service.reload import Reloader
from tidemill.testing.clock import ManualClock

WORKFLOW = (
    "from tidemill import dag, task\n\n@task\ndef keep(): ...\n\n@dag(dag_id='d')\ndef d():\n    keep()\n"
)
TRIGGER = "triggers:\n  - {name: t, dag: d, filters: [{exact: {type: ONE}}]}\n"


class Live:
    """The live project, as a service holds it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.clock = ManualClock()
        self.project = load(root)
        self.refuse = False
        self.reloader = Reloader(
            root,
            current=lambda: self.project,
            apply=self.apply,
            clock=self.clock,
            max_tasks=1000,
            every_seconds=1.0,
        )

    async def apply(self, project: Project) -> None:
        if self.refuse:
            raise SettingsError("no cluster is there")
        self.project = project

    def write(self, name: str, text: str) -> None:
        (self.root / name).parent.mkdir(exist_ok=True)
        (self.root / name).write_text(text, "utf-8")

    async def pass_time(self, seconds: int) -> None:
        for _ in range(seconds):
            self.clock.advance(1.0)
            await asyncio.sleep(0.05)  # files are read in a thread, which knows nothing of virtual time


@pytest.fixture
async def live(tmp_path: Path) -> AsyncIterator[Live]:
    for name, text in {"workflows/d.py": WORKFLOW, "triggers/t.yaml": TRIGGER}.items():
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text, "utf-8")
    live = Live(tmp_path)
    work = asyncio.create_task(live.reloader.run())
    await asyncio.sleep(0)
    yield live
    work.cancel()
    with suppress(asyncio.CancelledError):
        await work


async def test_an_edit_goes_live_by_itself(live: Live, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    was = live.project.version
    live.write("triggers/t.yaml", TRIGGER.replace("ONE", "TWO"))

    await live.pass_time(3)

    assert live.project.version != was
    assert live.project.triggers[0].rule.to_json() == [{"exact": {"type": "TWO"}}]
    (told,) = [record for record in caplog.records if record.message == "project.reloaded"]
    assert (told.was, told.version) == (was, live.project.version)  # type: ignore[attr-defined]


async def test_a_wrong_edit_keeps_what_was_live_and_says_so(
    live: Live, caplog: pytest.LogCaptureFixture
) -> None:
    was = live.project
    live.write("triggers/t.yaml", TRIGGER + "  - {name: t2, dag: nobody}\n")

    await live.pass_time(3)

    assert live.project is was
    assert any("nobody" in problem.message for problem in live.reloader.problems)
    (told,) = [record for record in caplog.records if record.message == "project.refused"]
    assert told.version == was.version  # type: ignore[attr-defined]
    assert told.problems == [str(problem) for problem in live.reloader.problems]  # type: ignore[attr-defined]


async def test_a_wrong_edit_is_told_once_and_goes_when_it_is_mended(
    live: Live, caplog: pytest.LogCaptureFixture
) -> None:
    live.write("triggers/t.yaml", "nonsense")
    await live.pass_time(5)
    told = [record for record in caplog.records if record.message == "project.refused"]

    live.write("triggers/t.yaml", TRIGGER.replace("ONE", "TWO"))
    await live.pass_time(3)

    assert len(told) == 1
    assert live.reloader.problems == ()
    assert live.project.triggers[0].rule.to_json() == [{"exact": {"type": "TWO"}}]


async def test_what_the_settings_do_not_allow_changes_nothing(live: Live) -> None:
    was, live.refuse = live.project, True
    live.write("triggers/t.yaml", TRIGGER.replace("ONE", "TWO"))

    found = await live.reloader.reload()

    assert live.project is was
    assert not found.changed
    assert [problem.message for problem in found.problems] == ["no cluster is there"]


async def test_a_file_that_says_the_same_changes_nothing(live: Live) -> None:
    was = live.project
    live.write("triggers/t.yaml", "# the same, told better\n" + TRIGGER)

    found = await live.reloader.reload()

    assert not found.changed
    assert live.project is was


async def test_a_new_file_and_one_taken_away_are_edits(live: Live) -> None:
    live.write("workflows/e.py", WORKFLOW.replace("'d'", "'e'").replace("def d", "def e"))
    await live.pass_time(3)
    more = set(live.project.dags)

    (live.root / "workflows" / "e.py").unlink()
    await live.pass_time(3)

    assert more == {"d", "e"}
    assert set(live.project.dags) == {"d"}


async def test_a_store_that_does_not_answer_delays_an_edit_and_stops_nobody(live: Live) -> None:
    apply, failures = live.apply, 0

    async def fail_twice(project: Project) -> None:
        nonlocal failures
        failures += 1
        if failures <= 2:
            raise StoreUnavailable("gone for a moment")
        await apply(project)

    live.reloader._apply = fail_twice  # type: ignore[assignment]
    was = live.project.version
    live.write("triggers/t.yaml", TRIGGER.replace("ONE", "TWO"))

    await live.pass_time(8)

    assert failures == 3
    assert live.project.version != was


async def test_a_mistake_of_ours_refuses_an_edit_and_stops_nobody(live: Live) -> None:
    async def fail(_: Project) -> None:
        raise RuntimeError("as a plug-in does")

    apply, live.reloader._apply = live.reloader._apply, fail  # type: ignore[assignment]
    live.write("triggers/t.yaml", TRIGGER.replace("ONE", "TWO"))
    await live.pass_time(3)
    problems = live.reloader.problems
    live.reloader._apply = apply
    live.write("triggers/t.yaml", TRIGGER.replace("ONE", "THREE"))
    await live.pass_time(3)

    assert "RuntimeError: as a plug-in does" in str(problems[0])
    assert live.project.triggers[0].rule.to_json() == [{"exact": {"type": "THREE"}}]


async def test_a_folder_that_goes_while_it_is_looked_at_stops_nobody(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    rglob, failures = Path.rglob, 0

    def vanish(path: Path, pattern: str) -> object:
        nonlocal failures
        failures += 1
        if failures < 3:
            raise FileNotFoundError(path)
        return rglob(path, pattern)

    monkeypatch.setattr(Path, "rglob", vanish)
    live.write("triggers/t.yaml", TRIGGER.replace("ONE", "TWO"))
    await live.pass_time(5)

    assert live.project.triggers[0].rule.to_json() == [{"exact": {"type": "TWO"}}]


async def test_nothing_is_made_live_any_more_once_it_is_closed(live: Live) -> None:
    was = live.project.version
    live.write("triggers/t.yaml", TRIGGER.replace("ONE", "TWO"))
    reloading = asyncio.create_task(live.reloader.reload())
    await asyncio.sleep(0)

    await live.reloader.close()
    found = await reloading

    assert (found.changed, live.project.version) == (False, was)
    assert "stopping" in str((await live.reloader.reload()).problems[0])
