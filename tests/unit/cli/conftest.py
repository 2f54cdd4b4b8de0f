"""A small project, and the command line in this process: no server runs for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from tidemill.cli.app import app

WORKFLOW = """\
from tidemill import dag, task

@task
def double(n: int) -> int:
    return 2 * n

@dag(dag_id="doubling")
def doubling(n: int, label: str = ""):
    return double(n)
"""
TRIGGERS = """\
triggers:
  - name: numbers
    dag: doubling
    filters: [{exact: {type: number.came}}]
    parameters: {n: $.data.n}
"""

Run = Callable[..., Result]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project folder, which commands find as the current one."""
    for name in ("TIDEMILL_URL", "TIDEMILL_PROJECT", "TIDEMILL_API_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    root = tmp_path / "project"
    (root / "workflows").mkdir(parents=True)
    (root / "triggers").mkdir()
    (root / "workflows" / "doubling.py").write_text(WORKFLOW, "utf-8")
    (root / "triggers" / "numbers.yaml").write_text(TRIGGERS, "utf-8")
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def run() -> Run:
    """Runs a command; `input` is its standard input."""

    def run(*arguments: str, input: str | bytes | None = None) -> Result:  # noqa: A002
        return CliRunner().invoke(app, list(arguments), input=input)

    return run


@pytest.fixture
def ask(run: Run) -> Callable[..., Any]:
    """The JSON answer of a command that succeeds."""

    def ask(*arguments: str, input: str | bytes | None = None) -> Any:  # noqa: A002
        result = run(*arguments, "--output", "json", input=input)
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout)

    return ask
