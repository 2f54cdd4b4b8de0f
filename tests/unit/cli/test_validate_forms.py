"""`tidemill validate` for programs: SARIF, annotations of pull requests, and `--strict`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from tidemill.project.remarks import RULES

Run = Callable[..., Result]

WRONG = """\
from tidemill import dag, task


@task
def text() -> str:
    return ""


@task
def number(n: int) -> int:
    return n


@task
def nothing() -> None:
    pass


@dag(dag_id="100%, sure: yes" if False else "wrong")
def wrong():
    number(text())
    number.override(task_id="b")(nothing())
"""


@pytest.fixture
def wrong(project: Path) -> Path:
    (project / "workflows" / "wröng, file.py").write_text(WRONG, "utf-8")
    return project


def test_sarif_has_what_the_standard_requires(wrong: Path, run: Run) -> None:
    result = run("validate", "--format", "sarif")

    assert result.exit_code == 2
    log = json.loads(result.stdout)
    assert (log["version"], log["$schema"].endswith("sarif-schema-2.1.0.json")) == ("2.1.0", True)
    (made,) = log["runs"]
    driver = made["tool"]["driver"]
    assert driver["name"] == "tidemill"
    assert [rule["id"] for rule in driver["rules"]] == list(RULES)
    for rule in driver["rules"]:
        assert set(rule) == {"id", "shortDescription", "defaultConfiguration"}
        assert rule["shortDescription"]["text"]
        assert rule["defaultConfiguration"]["level"] in ("error", "warning", "note")
    assert made["originalUriBaseIds"]["PROJECT"]["uri"] == project_uri(wrong)
    for one in made["results"]:
        assert driver["rules"][one["ruleIndex"]]["id"] == one["ruleId"]
        assert one["message"]["text"]
        (location,) = one["locations"]
        place = location["physicalLocation"]
        assert place["artifactLocation"] == {
            "uri": "workflows/wr%C3%B6ng%2C%20file.py",
            "uriBaseId": "PROJECT",
        }
        assert place["region"]["startLine"] >= 1
    assert [(one["ruleId"], one["level"]) for one in made["results"]] == [
        ("type-mismatch", "error"),
        ("none-passed", "warning"),
    ]


def project_uri(project: Path) -> str:
    return project.resolve().as_uri() + "/"


def test_sarif_of_a_right_project_has_no_results(project: Path, run: Run) -> None:
    result = run("validate", "-o", "sarif")

    assert result.exit_code == 0
    assert json.loads(result.stdout)["runs"][0]["results"] == []


def test_sarif_of_what_has_no_place_has_no_location(run: Run, tmp_path: Path) -> None:
    result = run("validate", "-o", "sarif", "--project", str(tmp_path / "none"))

    assert result.exit_code == 2
    (one,) = json.loads(result.stdout)["runs"][0]["results"]
    assert (one["ruleId"], "locations" in one) == ("project", False)


def test_annotations_are_escaped_as_github_reads_them(wrong: Path, run: Run) -> None:
    result = run("validate", "--format", "github")

    assert result.exit_code == 2
    assert result.stdout.splitlines() == [
        (
            "::error title=tidemill type-mismatch,file=workflows/wröng%2C file.py,line=21::"
            "DAG 'wrong': task 'number' takes 'n' from task 'text': it is str, not int"
        ),
        (
            "::warning title=tidemill none-passed,file=workflows/wröng%2C file.py,line=22::"
            "DAG 'wrong': task 'b' takes 'n' from task 'nothing', which returns nothing (None)"
        ),
    ]


def test_annotations_name_files_from_where_the_command_runs(
    wrong: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(wrong.parent)

    result = run("validate", "--format", "github", "--project", wrong.name)

    assert f"file={wrong.name}/workflows/" in result.stdout.splitlines()[0]


def test_a_message_cannot_bring_a_command_of_its_own(project: Path, run: Run) -> None:
    (project / "workflows" / "bad.py").write_text('raise ValueError("a\\n::error::b 100%")\n', "utf-8")

    result = run("validate", "--format", "github")

    (line,) = result.stdout.splitlines()
    assert line.endswith("importing the file raised ValueError: a ::error::b 100%25")


def test_strict_makes_warnings_errors(project: Path, run: Run) -> None:
    (project / "workflows" / "w.py").write_text(
        WRONG.replace("number(text())", "number(1)").replace("nothing())", "nothing() )"), "utf-8"
    )

    lenient, strict = run("validate"), run("validate", "--strict")
    verdict = json.loads(run("validate", "--strict", "-o", "json").stdout)

    assert (lenient.exit_code, strict.exit_code) == (0, 2)
    assert lenient.stdout.splitlines()[0].startswith("warning: workflows/w.py:22: ")
    assert lenient.stdout.splitlines()[0].endswith("[none-passed]")
    assert "valid:" not in strict.stdout
    assert (verdict["valid"], verdict["problems"]) == (False, [])
    (one,) = verdict["remarks"]
    assert (one["rule"], one["severity"], one["line"]) == ("none-passed", "warning", 22)
