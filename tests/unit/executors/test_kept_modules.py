"""A worker makes a version again with the modules that are kept with it, not with those of the folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tidemill.dag.definition import Dag
from tidemill.executors.remote.bundle import Bundles
from tidemill.executors.remote.definitions import Definitions
from tidemill.project.workflows import load_source, load_workflows

WORKFLOW = """
from tidemill import dag, task
from _rate import RATE

@task
def rate() -> int:
    return RATE

@dag
def uses():
    rate()
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows" / "uses.py").write_text(WORKFLOW, "utf-8")
    (tmp_path / "workflows" / "_rate.py").write_text("RATE = 1\n", "utf-8")
    return tmp_path


def on_worker(dag: Dag, bundles: Bundles) -> Dag:
    bundle = bundles.of(dag)
    head = {"dag": dag.dag_id, "version": dag.version, "file": dag.file, "bundle": bundle.digest}
    definitions = Definitions()
    try:
        return definitions.find(head, bundle.text)
    finally:
        for folder in definitions._folders.values():
            folder.cleanup()


def test_worker_gets_the_modules_of_the_version(root: Path) -> None:
    old = load_workflows(root, max_tasks=9)[0]["uses"]
    (root / "workflows" / "_rate.py").write_text("RATE = 2\n", "utf-8")
    new = load_workflows(root, max_tasks=9)[0]["uses"]
    bundles = Bundles(root)

    made = [on_worker(dag, bundles) for dag in (old, new)]

    assert [dag.version for dag in made] == [old.version, new.version]
    assert [dag.tasks[0].function() for dag in made] == [1, 2]


def test_worker_makes_a_version_that_was_kept_without_modules_as_it_always_did(root: Path) -> None:
    dag = load_source(WORKFLOW, "workflows/uses.py", "uses", root=root)

    made = on_worker(dag, Bundles(root))

    assert (made.version, made.modules, made.tasks[0].function()) == (dag.version, None, 1)
