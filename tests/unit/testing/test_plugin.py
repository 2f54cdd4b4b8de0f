"""The pytest plug-in, in a pytest of its own: fixtures, options, marker."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

PROJECT = {
    "workflows/flow.py": """
        from tidemill import Context, dag, task

        @task
        def double(number: int, context: Context) -> int:
            return 2 * number

        @dag
        def flow(number: int):
            return double(number)
    """,
    "triggers/flow.yaml": """
        sources:
          - name: door
            webhook: {event: {type: came, source: /door}, data: $.body}
        triggers:
          - {name: came, dag: flow, pattern: {type: [came]}, parameters: {number: $.data.number}}
    """,
    "tests/test_flow.py": """
        import pytest
        from tidemill.testing import Chaos

        def test_blocking(tidemill, assert_history):
            tidemill.webhook("door", json={"number": 4})
            tidemill.run_until_done()
            assert_history(tidemill.expect_run("flow", result=8), "doubled")

        def test_project(tidemill_project, tidemill_root, make_context):
            assert set(tidemill_project.dags) == {"flow"}
            assert (tidemill_root / "workflows").is_dir()
            (task,) = tidemill_project.dags["flow"].tasks
            assert task.function(3, make_context(attempt=2)) == 6

        @pytest.mark.tidemill(chaos=Chaos(kill=0.2, duplicate=0.5), seed=5)
        def test_chaos(tidemill):
            for number in range(5):
                tidemill.send(type="came", data={"number": number})
            tidemill.run_until_done()
            assert len(tidemill.expect_runs("flow", 5)) == 5
            assert tidemill.misfortune.struck
    """,
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name, text in PROJECT.items():
        place = tmp_path / name
        place.parent.mkdir(exist_ok=True)
        place.write_text(dedent(text), "utf-8")
    return tmp_path


def run(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    # Without pytest-asyncio, as where it is not installed.
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:asyncio",
        "-p",
        "no:randomly",
    ]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [*command, *options],
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment,
        timeout=100,
        check=False,
    )


def test_plain_tests_need_no_await_and_no_other_plugin(project: Path) -> None:
    missing = run(project, "-q")
    written = run(project, "-q", "--tidemill-update")
    held = run(project, "-q")
    file = project / "tests" / "histories" / "doubled.txt"
    file.write_text(file.read_text().replace("8", "9"))
    changed = run(project, "-q")

    assert "1 failed, 2 passed" in missing.stdout
    assert "--tidemill-update writes it" in missing.stdout
    assert written.returncode == held.returncode == 0, held.stdout
    assert "the history is another one" in changed.stdout


def test_chaos_of_the_command_line_strikes_every_harness_and_a_failure_tells_its_seed(project: Path) -> None:
    (project / "tests" / "test_flow.py").write_text(
        dedent(
            """
            def test_it(tidemill):
                tidemill.send(type="came", data={"number": 1})
                tidemill.run_until_done()
                assert tidemill.misfortune.struck == {}
            """
        )
    )

    calm = run(project, "-q", "--tidemill-chaos=kill=0", "--tidemill-seed=9")
    wild = run(project, "-q", "--tidemill-chaos=duplicate=1", "--tidemill-seed=9")
    wrong = run(project, "-q", "--tidemill-chaos=explode=1")

    assert calm.returncode == 0, calm.stdout
    assert "again with --tidemill-seed=9" in wild.stdout
    assert wrong.returncode != 0
    assert "names are kill" in wrong.stdout + wrong.stderr


def test_options_and_fixtures_are_listed_by_pytest(project: Path) -> None:
    options = run(project, "--help").stdout
    fixtures = run(project, "--fixtures", "-q").stdout
    markers = run(project, "--markers").stdout

    for name in ("--tidemill-seed", "--tidemill-chaos", "--tidemill-update"):
        assert name in options
    for name in ("tidemill_harness", "tidemill_project", "tidemill_root", "assert_history", "make_context"):
        assert f"{name} -- " in fixtures
    assert "@pytest.mark.tidemill(**options)" in markers
