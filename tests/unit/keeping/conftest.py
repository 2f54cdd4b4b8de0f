"""A store on disk, under virtual time, and a project made of text."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tidemill.project.load import load
from tidemill.project.model import Project
from tidemill.storage.contract import Store
from tidemill.storage.sqlite import open_store
from tidemill.testing.clock import ManualClock

WORKFLOW = """
from tidemill import dag, task

async def find() -> int:
    return 7

@task
def keep(n: int) -> int:
    return n

@dag(dag_id="numbers")
def numbers(n: int):
    return keep(n)
"""


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def store(tmp_path: Path, clock: ManualClock) -> AsyncIterator[Store]:
    opened = await open_store(tmp_path / "state" / "tidemill.db", clock=clock)
    yield opened
    await opened.close()


@pytest.fixture
def make_project(tmp_path: Path) -> Callable[..., Project]:
    """A project with one DAG `numbers(n)` and these triggers (YAML)."""

    def make(triggers: str, name: str = "project") -> Project:
        root = tmp_path / name
        for folder in ("workflows", "triggers"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        (root / "workflows" / "counting.py").write_text(WORKFLOW, "utf-8")
        (root / "triggers" / "all.yaml").write_text(triggers, "utf-8")
        return load(root)

    return make
