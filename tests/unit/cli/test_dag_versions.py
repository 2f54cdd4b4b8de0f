"""Pictures, versions and differences at the command line; no server runs for the project."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from tidemill.project.load import load
from tidemill.runs.view import encode_graph
from tidemill.storage.sqlite import open_store

Run = Callable[..., Result]


@pytest.fixture
def kept(project: Path) -> str:
    """A version that was served, before the folder changes; its name."""
    dag = load(project).dags["doubling"]

    async def save() -> None:
        from tidemill.clock import SystemClock

        store = await open_store(project / ".tidemill" / "tidemill.db", clock=SystemClock())
        await store.runs.save_version(
            "doubling", dag.version, dag.file, dag.source, encode_graph(dag), modules=dag.modules
        )
        await store.close()

    asyncio.run(save())
    return dag.version


def edit(project: Path) -> None:
    place = project / "workflows" / "doubling.py"
    place.write_text(place.read_text("utf-8").replace("@task\n", "@task(retries=4)\n"), "utf-8")


def test_dag_is_drawn_in_the_format_asked_for(project: Path, run: Run) -> None:
    assert run("dags", "graph", "doubling").stdout == 'flowchart LR\n  t0["double"]\n'
    assert run("dags", "graph", "doubling", "--format", "dot").stdout.startswith('digraph "doubling" {')
    assert run("dags", "graph", "doubling", "--format", "svg").stdout.startswith("<svg ")
    (node,) = json.loads(run("dags", "graph", "doubling", "-o", "json").stdout)["nodes"]
    assert node["id"] == "double"
    assert run("dags", "graph", "nobody").exit_code == 1


def test_versions_are_listed(project: Path, run: Run, kept: str) -> None:
    edit(project)

    lines = run("dags", "versions", "doubling").stdout.splitlines()

    assert len(lines) == 3
    assert kept in lines[1] + lines[2]


def test_folder_is_compared_with_what_was_served_last(project: Path, run: Run, kept: str) -> None:
    same = run("dags", "diff", "doubling")
    edit(project)

    changed = run("dags", "diff", "doubling")

    assert (same.exit_code, len(same.stdout.splitlines())) == (0, 1)
    assert changed.exit_code == 3
    lines = changed.stdout.splitlines()
    assert lines[0].startswith(f"doubling {kept} -> ")
    assert lines[1] == "~ task double retry: (default) -> max_attempts=5"
    assert "+@task(retries=4)" in lines
    assert "-@task" in lines


def test_versions_are_compared_for_programs(project: Path, run: Run, kept: str) -> None:
    edit(project)

    result = run("dags", "diff", "doubling", "--from", kept[:6], "--to", "folder", "-o", "json")

    assert result.exit_code == 3
    found = json.loads(result.stdout)
    assert found["from"] == kept
    assert found["changes"] == [
        {"kind": "changed", "what": "task", "name": "double retry", "before": "", "after": "max_attempts=5"}
    ]


def test_versions_that_are_not_there_are_refused(project: Path, run: Run, kept: str) -> None:
    assert run("dags", "diff", "doubling", "--from", "nowhere").exit_code == 1
    assert run("dags", "diff", "nobody", "--from", kept).exit_code == 1
    assert run("dags", "diff", "doubling", "--against", "http://127.0.0.1:1").exit_code == 1


def test_runs_that_are_not_there_cannot_be_compared_or_moved(project: Path, run: Run) -> None:
    for command in (("runs", "diff", "a", "b"), ("runs", "migrate", "a", "--to", "live")):
        result: Any = run(*command)

        assert (result.exit_code, "there is no such run" in result.stderr) == (1, True)
