"""`tidemill init` makes a project that is valid; that its own test passes is shown in tests/integration."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from typer.testing import Result

from tidemill.project import publish

Run = Callable[..., Result]


def test_init_makes_a_valid_project(run: Run, tmp_path: Path) -> None:
    made = run("init", str(tmp_path / "new"))

    assert made.exit_code == 0
    found = [path for path in (tmp_path / "new").rglob("*") if path.is_file()]
    assert {path.relative_to(tmp_path / "new").as_posix() for path in found} == {
        ".github/workflows/tidemill.yml",
        ".gitignore",
        "README.md",
        "tidemill.toml",
        "schemas/triggers.v1.json",
        "tests/test_hello.py",
        "triggers/hello.yaml",
        "workflows/hello.py",
    }
    assert run("validate", "--project", str(tmp_path / "new")).exit_code == 0


def test_init_gives_the_editor_the_schema_of_today(run: Run, tmp_path: Path) -> None:
    run("init", str(tmp_path))

    written = (tmp_path / "schemas" / "triggers.v1.json").read_text("utf-8")

    assert written == publish.documents()["triggers.v1.json"]


def test_init_leaves_a_folder_that_is_not_empty(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine", "utf-8")

    result = run("init", str(tmp_path))

    assert result.exit_code == 2
    assert "not empty" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_init_by_force_adds_and_changes_nothing(run: Run, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine", "utf-8")

    result = run("init", str(tmp_path), "--force")

    assert result.exit_code == 0
    assert (tmp_path / "README.md").read_text("utf-8") == "mine"
    assert (tmp_path / "workflows" / "hello.py").exists()


def test_init_refuses_a_file(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    result = run("init", str(tmp_path / "file"))

    assert result.exit_code == 2
    assert "is a file" in result.stderr
