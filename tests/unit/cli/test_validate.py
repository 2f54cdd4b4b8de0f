"""`tidemill validate` tells everything at once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from typer.testing import Result

Run = Callable[..., Result]


def test_validate_accepts_a_project(project: Path, run: Run) -> None:
    result = run("validate")

    assert result.exit_code == 0
    assert result.stdout == "valid: 1 dag, 1 trigger, 0 sources, 0 subscriptions\n"


def test_validate_names_every_problem_with_its_place(project: Path, run: Run) -> None:
    (project / "workflows" / "broken.py").write_text("from tidemill import dag\n\nif:\n", "utf-8")
    (project / "triggers" / "wrong.yaml").write_text(
        "triggers:\n  - name: a\n    dag: doublin\n    filters: []\n    more: 1\n", "utf-8"
    )
    (project / "tidemill.toml").write_text("port = 700000\n", "utf-8")

    result = run("validate")

    assert result.exit_code == 2
    places = [line.split(": ")[0] for line in result.stdout.splitlines()]
    assert places[0] == "tidemill.toml"
    assert any(place.startswith("workflows/broken.py:3") for place in places)
    assert any(place.startswith("triggers/wrong.yaml:5") for place in places)


def test_validate_tells_programs_the_same(project: Path, run: Run) -> None:
    (project / "workflows" / "broken.py").write_text("if:\n", "utf-8")

    result = run("validate", "--output", "json")
    verdict = json.loads(result.stdout)

    assert result.exit_code == 2
    assert verdict["valid"] is False
    (problem,) = verdict["problems"]
    assert (problem["file"], problem["line"]) == ("workflows/broken.py", 1)
    assert problem["message"].startswith("syntax error")


def test_validate_warns_of_a_cycle_and_accepts_it(project: Path, run: Run) -> None:
    (project / "triggers" / "again.yaml").write_text(
        "triggers:\n"
        "  - name: again\n"
        "    dag: doubling\n"
        "    filters: [{exact: {type: dev.tidemill.run.succeeded.v1, source: /tidemill/dags/doubling}}]\n"
        "    parameters: {n: 1}\n",
        "utf-8",
    )

    text = run("validate")
    verdict = json.loads(run("validate", "-o", "json").stdout)

    assert text.exit_code == 0
    assert text.stdout.startswith("warning: ")
    assert verdict["valid"] is True
    assert "doubling" in verdict["warnings"][0]


def test_validate_of_nothing_is_refused(run: Run, tmp_path: Path) -> None:
    result = run("validate", "--project", str(tmp_path / "none"))

    assert result.exit_code == 2
    assert "does not exist" in result.stdout


def test_validate_leaves_the_folder_as_it_is(project: Path, run: Run) -> None:
    before = sorted(project.rglob("*"))

    run("validate")

    assert sorted(project.rglob("*")) == before
