"""Which server a command asks."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

Ask = Callable[..., Any]
Run = Callable[..., Result]

#: Nothing answers at port 9.
NOWHERE = "http://127.0.0.1:9"


@contextmanager
def note(project: Path, url: str) -> Iterator[None]:
    """The note of a server that lives."""
    (project / ".tidemill").mkdir(exist_ok=True)
    with (project / ".tidemill" / "server.json").open("w") as file:
        file.write(json.dumps({"url": url}))
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def test_url_names_the_server(project: Path, run: Run) -> None:
    result = run("runs", "list", "--url", NOWHERE)

    assert result.exit_code == 1
    assert NOWHERE in result.stderr


def test_variable_names_the_server(project: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEMILL_URL", NOWHERE)

    assert NOWHERE in run("runs", "list").stderr


def test_note_of_a_living_server_names_it(project: Path, run: Run) -> None:
    with note(project, NOWHERE):
        result = run("runs", "list")

    assert result.exit_code == 1
    assert NOWHERE in result.stderr


def test_note_of_a_dead_server_is_passed_over(project: Path, ask: Ask) -> None:
    with note(project, NOWHERE):
        pass

    assert ask("runs", "list") == {"items": [], "next": None}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"url": 7}'])
def test_note_that_says_nothing_is_passed_over(project: Path, ask: Ask, text: str) -> None:
    (project / ".tidemill").mkdir()
    (project / ".tidemill" / "server.json").write_text(text, "utf-8")

    assert ask("runs", "list") == {"items": [], "next": None}


def test_token_of_the_settings_opens_the_projects_own_store(project: Path, ask: Ask) -> None:
    (project / "tidemill.toml").write_text('api_token = "a-token"\n', "utf-8")

    assert ask("runs", "list")["items"] == []


def test_address_that_is_none_is_refused(project: Path, run: Run) -> None:
    result = run("runs", "list", "--url", "localhost:7070")

    assert result.exit_code == 2
    assert "http://HOST:PORT" in result.stderr


def test_folder_that_is_no_project_is_refused_and_left_alone(run: Run, tmp_path: Path) -> None:
    result = run("runs", "list", "--project", str(tmp_path))

    assert result.exit_code == 2
    assert "no Tidemill project" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_folder_that_is_not_there_is_refused(run: Run, tmp_path: Path) -> None:
    result = run("runs", "list", "--project", str(tmp_path / "none"))

    assert result.exit_code == 2
    assert "does not exist" in result.stderr


def test_definitions_with_problems_are_refused_with_all_of_them(project: Path, run: Run) -> None:
    (project / "triggers" / "wrong.yaml").write_text("triggers:\n  - name: a\n    dag: nothing\n", "utf-8")

    result = run("runs", "list")

    assert result.exit_code == 2
    assert "triggers/wrong.yaml:" in result.stderr
    assert all(line.startswith("error: ") for line in result.stderr.splitlines())
