"""A project as a whole: missing folders, its version, its limits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tidemill.errors import DefinitionError, SettingsError
from tidemill.project.load import load


def test_load_of_an_empty_folder_is_an_empty_project(tmp_path: Path) -> None:
    project = load(tmp_path)

    assert (dict(project.dags), project.triggers, project.sources, project.subscriptions) == ({}, (), (), ())
    assert (project.root, project.warnings, bool(project.version)) == (tmp_path.resolve(), (), True)


@pytest.mark.parametrize("name", ["missing", "file"])
def test_load_of_what_is_no_folder_is_an_error_of_settings(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("x")

    with pytest.raises(SettingsError, match="does not exist"):
        load(tmp_path / name)


def test_load_finds_dags_and_passes_the_limit_of_tasks_on(folder: Any) -> None:
    assert sorted(folder.load().dags) == ["archive", "process_order", "report"]

    with pytest.raises(DefinitionError):
        load(folder.root, max_tasks=0)


def test_load_of_a_trigger_without_any_workflow_says_so(tmp_path: Path) -> None:
    (tmp_path / "triggers").mkdir()
    (tmp_path / "triggers/t.yaml").write_text("triggers: [{name: t, filters: [], dag: d}]")

    with pytest.raises(DefinitionError, match="there is no DAG 'd'; workflows/ defines none"):
        load(tmp_path)


def test_version_is_the_same_wherever_the_files_lie(folder: Any, tmp_path: Path) -> None:
    entries = ["{name: a, filters: [], dag: archive}", "{name: b, filters: [], dag: report}"]
    folder.write("triggers/one.yaml", f"triggers: [{', '.join(entries)}]\n")
    together = folder.load().version

    (folder.root / "triggers/one.yaml").unlink()
    folder.write("triggers/x.yaml", f"# moved\ntriggers: [{entries[1]}]\n")
    folder.write("triggers/y.yml", f"triggers: [{entries[0]}]\n")

    assert folder.load().version == together


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("triggers/t.yaml", "triggers: [{name: a, filters: [{exact: {type: y}}], dag: archive}]"),
        (
            "triggers/t.yaml",
            "triggers: [{name: a, filters: [{exact: {type: x}}], dag: archive, paused: true}]",
        ),
        ("triggers/u.yaml", "sources: [{name: k, kafka: {topics: [t]}}]"),
        ("schemas/s.json", '{"$id": "urn:x"}'),
        (
            "workflows/more.py",
            "from tidemill import dag, task\n\n@task\ndef t(): ...\n\n@dag\ndef more():\n    t()\n",
        ),
    ],
)
def test_version_changes_with_every_definition(folder: Any, name: str, text: str) -> None:
    folder.write("triggers/t.yaml", "triggers: [{name: a, filters: [{exact: {type: x}}], dag: archive}]")
    before = folder.load().version

    folder.write(name, text)

    assert folder.load().version != before
