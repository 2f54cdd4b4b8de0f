"""A project folder that tests fill with files and load."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from tidemill.errors import DefinitionError
from tidemill.project import load
from tidemill.project.model import Project

WORKFLOWS = """
from tidemill import dag, task

@task
def work(value):
    return value

@dag
def process_order(order: dict, priority: int = 1):
    return work(order)

@dag
def report(state: str = ""):
    return work(state)

@dag
def archive():
    return work(1)
"""


class ProjectFolder:
    """A folder with three DAGs: process_order(order, priority=1), report(state="") and archive()."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.write("workflows/orders.py", WORKFLOWS)

    def write(self, name: str, text: str) -> None:
        """Write one file of the project, its indentation removed."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text), encoding="utf-8")

    def load(self) -> Project:
        """Load the project."""
        return load.load(self.root)

    def problems(self) -> list[str]:
        """What is wrong with the project, as `file:line: message`."""
        with pytest.raises(DefinitionError) as caught:
            self.load()
        return [str(problem) for problem in caught.value.problems]


@pytest.fixture
def folder(tmp_path: Path) -> ProjectFolder:
    """A project that holds workflows only."""
    return ProjectFolder(tmp_path)


@pytest.fixture
def problems_of(folder: ProjectFolder) -> Callable[[str], list[str]]:
    """What is wrong with one `triggers/t.yaml`, as `line: message`."""

    def problems(text: str) -> list[str]:
        folder.write("triggers/t.yaml", text)
        return [problem.removeprefix("triggers/t.yaml:") for problem in folder.problems()]

    return problems
