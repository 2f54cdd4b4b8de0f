"""Edited while events arrive, and killed around it: the audit finds nothing wrong, and the checker neither."""

from __future__ import annotations

import signal
from functools import partial
from pathlib import Path

import pytest
from tests.acceptance.evidence import connect
from tests.acceptance.notes import wait_until
from tests.acceptance.scene import Scene, staged

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(180)]

#: Saying which version is live is a statement, what is routed under it a route.
_POINTS = (
    "statement.before_commit:1",
    "statement.after_commit:1",
    "route.before_commit:12",
    "statement.before_commit:1",
    "route.after_commit:9",
    "statement.after_commit:1",
)
_FLIP = """triggers:
  - name: flip
    filters: [{{exact: {{type: com.example.order}}}}, {{not: {{exact: {{subject: edit-{number}}}}}}}]
    dag: {dag}
    parameters: {{of: $.id}}
"""


class Editor:
    """Edits a project: one trigger comes and goes, and code changes now and then."""

    def __init__(self, project: Path) -> None:
        self._flip = project / "triggers" / "flip.yaml"
        self._code = project / "workflows" / "acceptance.py"
        self._text = self._code.read_text("utf-8")
        self.edits = 0

    def edit(self) -> None:
        """The next version."""
        self.edits += 1
        if self.edits % 2:
            self._write(self._flip, _FLIP.format(number=self.edits, dag="turns"))
        else:
            self._flip.unlink()
        if self.edits % 3 == 0:
            self._write(self._code, f"{self._text}\n\n# edit {self.edits}\n")

    def spoil(self) -> None:
        """An edit that is wrong; `mend` takes it back."""
        self._write(self._flip.with_name("spoilt.yaml"), _FLIP.format(number="", dag="nowhere"))

    def mend(self) -> None:
        self._flip.with_name("spoilt.yaml").unlink()

    @staticmethod
    def _write(path: Path, text: str) -> None:
        unfinished = path.with_suffix(".new")
        unfinished.write_text(text, "utf-8")
        unfinished.replace(path)


async def _reload(scene: Scene) -> tuple[str, int]:
    """The version that is live after an edit, and the number of problems in the folders."""
    answer = await scene.client.ask("POST", "/api/v1/project/reload")
    assert answer.status_code == 200, answer.text
    return answer.json()["version"], len(answer.json()["problems"])


def _has_grown(scene: Scene, position: int) -> bool:
    return scene.stream.last > position + 5


async def _audit(scene: Scene) -> dict[str, int]:
    """What the whole log adds up to."""
    sums = dict.fromkeys(("events", "matched", "held", "ended", "unexplained", "wrong"), 0)
    after, is_complete = 0, False
    while not is_complete:
        answer = await scene.client.ask("GET", "/api/v1/audit", params={"after": after})
        report = answer.json()
        report["ended"] = sum(report["dispositions"].values())
        assert report["findings"] == []
        for name in sums:
            sums[name] += report[name]
        after, is_complete = report["last"], report["complete"]
    return sums


async def test_nothing_is_lost_or_doubled_when_killed_around_a_reload(
    tmp_path: Path, postgres: str | None
) -> None:
    settings = {"TIDEMILL_RELOAD_SECONDS": "0.1"}
    async with staged(tmp_path, postgres=postgres, settings=settings) as scene:
        editor = Editor(scene.folder / "project")
        await scene.server.start()
        load = scene.send(modes=("structured", "batch", "change"), files=False, jobs=False)
        scene.server.kill()

        for point in _POINTS:
            if await scene.server.start(kill_at=point):
                editor.edit()
            assert await scene.server.wait(20.0) == -signal.SIGKILL, f"{point}: {scene.server.log_tail()}"
            load.raise_failure()
        await scene.server.start()
        for _ in range(4):
            editor.edit()
            version, problems = await _reload(scene)
            editor.spoil()
            kept, found = await _reload(scene)
            assert (kept, problems, found > 0) == (version, 0, True)
            editor.mend()
            await wait_until(partial(_has_grown, scene, scene.stream.last))
        await load.finish()
        await scene.settle()
        sums = await _audit(scene)

        assert (sums["wrong"], sums["unexplained"]) == (0, 0)
        assert sums["matched"] == sums["held"] + sums["ended"]
        assert sums["events"] == scene.stream.last
        assert await scene.stop_and_check() == []
        with connect(scene.database) as database:
            versions = database.execute("SELECT count(*) FROM definitions").fetchone()
            flips = database.execute("SELECT count(*) FROM runs WHERE trigger = 'flip'").fetchone()
        assert versions[0] >= 4
        assert flips[0] > 0
