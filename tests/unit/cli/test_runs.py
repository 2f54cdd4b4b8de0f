"""Runs without a server: read as they are, requests kept for the server's start."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from typer.testing import Result

Ask = Callable[..., Any]
Run = Callable[..., Result]

MEMBERS = {
    "id",
    "dag",
    "version",
    "state",
    "trigger",
    "event",
    "parameters",
    "queued_at",
    "started_at",
    "ended_at",
}


def test_trigger_asks_for_a_run(project: Path, ask: Ask) -> None:
    run = ask("dags", "trigger", "doubling", "--param", "n=4", "--param", "label=four")

    assert set(run) == MEMBERS
    assert set(run["event"]) == {"source", "id", "position"}
    assert run["state"] == "queued"
    assert run["trigger"] == "manual"
    assert run["parameters"] == {"n": 4, "label": "four"}
    assert ask("events", "show", "1")["event"]["type"] == "dev.tidemill.dag.requested.v1"


def test_trigger_takes_all_parameters_as_one_object(project: Path, ask: Ask) -> None:
    run = ask("dags", "trigger", "doubling", "--parameters", '{"n": 1, "label": "a"}', "--param", "n=2")

    assert run["parameters"] == {"n": 2, "label": "a"}


def test_trigger_with_an_id_twice_is_one_run(project: Path, ask: Ask) -> None:
    first = ask("dags", "trigger", "doubling", "-p", "n=4", "--id", "same")

    assert ask("dags", "trigger", "doubling", "-p", "n=4", "--id", "same") == first


def test_trigger_names_every_parameter_that_does_not_fit(project: Path, run: Run) -> None:
    result = run("dags", "trigger", "doubling", "-p", "n=many", "-p", "other=1")

    assert result.exit_code == 1
    assert "n: " in result.stderr
    assert "other: " in result.stderr


def test_trigger_refuses_what_is_no_parameter(project: Path, run: Run) -> None:
    assert run("dags", "trigger", "doubling", "-p", "n").exit_code == 2
    assert run("dags", "trigger", "doubling", "--parameters", "[1]").exit_code == 2
    assert run("dags", "trigger", "doubling", "--parameters", "{").exit_code == 2


def test_trigger_does_not_wait_where_nothing_runs(project: Path, run: Run) -> None:
    result = run("dags", "trigger", "doubling", "-p", "n=1", "--wait")

    assert result.exit_code == 1
    assert "nothing to wait for" in result.stderr


def test_list_without_runs_is_an_empty_page(project: Path, ask: Ask) -> None:
    assert ask("runs", "list") == {"items": [], "next": None}


def test_list_refuses_a_state_that_does_not_exist(project: Path, run: Run) -> None:
    result = run("runs", "list", "--state", "sleeping")

    assert result.exit_code == 1
    assert "state" in result.stderr


def test_what_is_asked_of_no_run_is_refused(project: Path, run: Run) -> None:
    for command in ("show", "watch", "cancel", "retry"):
        result = run("runs", command, "nobody")

        assert (result.exit_code, result.stderr) == (1, "error: there is no such run\n")


def test_watch_of_everything_needs_a_server(project: Path, run: Run) -> None:
    result = run("runs", "watch")

    assert result.exit_code == 1
    assert "tidemill serve" in result.stderr


def test_dags_are_listed_and_shown(project: Path, ask: Ask, run: Run) -> None:
    (listed,) = ask("dags", "list")["items"]
    shown = ask("dags", "show", "doubling")

    assert (listed["id"], listed["file"]) == ("doubling", "workflows/doubling.py")
    assert [task["id"] for task in shown["tasks"]] == ["double"]
    assert shown["triggers"] == ["numbers"]
    assert "doubling" in run("dags", "list").stdout
    assert "double" in run("dags", "show", "doubling").stdout


def test_sources_are_stopped_without_a_server(project: Path, ask: Ask) -> None:
    items = ask("sources", "list")["items"]

    assert [(item["name"], item["state"]) for item in items] == [("http", "stopped")]


def test_dead_letters_are_an_empty_page(project: Path, ask: Ask, run: Run) -> None:
    assert ask("dlq", "list", "--stage", "kafka") == {"items": [], "next": None}
    assert run("dlq", "show", "x").stderr == "error: there is no such dead letter\n"


def test_answers_are_one_line_for_programs(project: Path, run: Run) -> None:
    result = run("dags", "list", "-o", "json")

    assert result.stdout.count("\n") == 1
    assert json.loads(result.stdout)["items"]
