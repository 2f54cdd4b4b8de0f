"""The project that `tidemill init` makes: its own tests pass, and its CI file says what can be done."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command
from typer.testing import CliRunner

from tidemill.cli.app import app


@pytest.fixture
def project(tmp_path: Path) -> Path:
    made = CliRunner().invoke(app, ["init", str(tmp_path / "new")])
    assert made.exit_code == 0, made.output
    return tmp_path / "new"


@pytest.fixture
def pipeline(project: Path) -> dict[str, Any]:
    text = (project / ".github" / "workflows" / "tidemill.yml").read_text("utf-8")
    read: dict[str, Any] = yaml.safe_load(text)
    return read


def test_tests_of_a_new_project_pass(project: Path) -> None:
    # As where nothing but tidemill and pytest is installed.
    others = [f"-pno:{name}" for name in ("asyncio", "randomly", "xdist", "timeout", "cacheprovider")]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", *others],
        capture_output=True,
        text=True,
        cwd=project,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        timeout=100,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 passed" in done.stdout
    assert not (project / ".tidemill").exists()


def test_ci_validates_plans_tests_and_deploys_in_this_order(pipeline: dict[str, Any]) -> None:
    check, deploy = pipeline["jobs"]["check"], pipeline["jobs"]["deploy"]
    names = [step["name"] for step in check["steps"] if "name" in step]

    assert names == ["Validate", "Plan", "Test"]
    assert deploy["needs"] == "check"
    assert "refs/heads/main" in deploy["if"]
    # YAML 1.1 reads the key `on` as a truth value; those who run the file do not.
    (events,) = (value for key, value in pipeline.items() if key not in ("name", "permissions", "jobs"))
    assert set(events) == {"push", "pull_request"}


def test_every_command_of_the_ci_file_exists(pipeline: dict[str, Any]) -> None:
    commands = get_command(app).commands  # type: ignore[attr-defined]
    lines = [
        line
        for job in pipeline["jobs"].values()
        for step in job["steps"]
        for line in step.get("run", "").splitlines()
    ]
    asked = [match[1] for line in lines for match in re.finditer(r"(?:^|\s)tidemill ([a-z-]+)", line)]
    asked = [name for name in asked if name != "pytest"]  # `pip install tidemill pytest`

    assert asked == ["validate", "plan", "reload"]
    assert set(asked) <= set(commands)
    assert any(line.strip() == "pytest" for line in lines)


def test_plan_that_differs_is_no_failure_of_the_ci_step(pipeline: dict[str, Any]) -> None:
    (plan,) = [step for step in pipeline["jobs"]["check"]["steps"] if step.get("name") == "Plan"]
    outcomes = {}
    for code in (0, 1, 3):
        script = plan["run"].replace("tidemill plan", f"(exit {code})")
        outcomes[code] = subprocess.run(["bash", "-e", "-c", script], check=False).returncode

    assert outcomes == {0: 0, 1: 1, 3: 0}
