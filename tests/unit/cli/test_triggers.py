"""Triggers without a server: listed, tried, paused and checked as they are in the folders."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

Ask = Callable[..., Any]
Run = Callable[..., Result]

EVENT = '{"type": "number.came", "data": {"n": 3}}'


def test_triggers_are_listed_and_shown(project: Path, ask: Ask, run: Run) -> None:
    (listed,) = ask("triggers", "list")["items"]
    shown = ask("triggers", "show", "numbers")

    assert (listed["name"], listed["state"], listed["dag"]) == ("numbers", "active", "doubling")
    assert (shown["file"], shown["line"]) == ("triggers/numbers.yaml", 2)
    assert shown["written"]["filters"] == [{"exact": {"type": "number.came"}}]
    assert "triggers/numbers.yaml:2" in run("triggers", "list").stdout


def test_tried_event_shows_what_it_would_start(project: Path, ask: Ask, run: Run) -> None:
    (project / "event.json").write_text(EVENT, "utf-8")

    by_option = run("triggers", "test", "--event", EVENT)
    by_file, by_pipe = run("triggers", "test", "event.json"), run("triggers", "test", "-", input=EVENT)

    assert by_option.exit_code == 0
    assert by_option.stdout.splitlines() == [
        "numbers: matches",
        '  yes: type is "number.came", wanted "number.came"',
        '  starts doubling {"n":3,"label":""}',
    ]
    assert by_file.stdout == by_pipe.stdout == by_option.stdout
    assert ask("events", "list")["items"] == []


def test_event_that_no_trigger_takes_ends_with_1(project: Path, run: Run) -> None:
    nothing = run("triggers", "test", "--event", '{"type": "other"}')
    named = run("triggers", "test", "--event", '{"type": "other"}', "--trigger", "numbers")

    assert (nothing.exit_code, nothing.stdout) == (1, "1 triggers do not match\n")
    assert named.exit_code == 1
    assert 'type is "other", wanted "number.came"' in named.stdout


@pytest.mark.parametrize(
    "arguments",
    [(), ("--event", "{"), ("--event", "[]"), ("nothing.json",), ("--event", EVENT, "--position", "1")],
)
def test_trial_without_one_event_is_refused(project: Path, run: Run, arguments: tuple[str, ...]) -> None:
    assert run("triggers", "test", *arguments).exit_code == 2


def test_pause_is_kept_for_the_server(project: Path, ask: Ask, run: Run) -> None:
    paused = ask("triggers", "pause", "numbers")
    listed = ask("triggers", "list")["items"][0]
    resumed = ask("triggers", "resume", "numbers")

    assert (paused["state"], listed["state"], listed["paused_by"]) == ("paused", "paused", "request")
    assert (resumed["state"], resumed["paused_at"]) == ("active", None)
    assert run("triggers", "pause", "nobody").stderr == "error: there is no such trigger\n"


def test_why_names_events_by_position_and_by_source_and_id(project: Path, run: Run) -> None:
    run("events", "send", "--type", "number.came", "--data", '{"n": 3}', "--source", "/s", "--id", "one")

    by_position, by_id = run("events", "why", "1"), run("events", "why", "/s", "one")

    assert by_position.exit_code == 0, by_position.stderr
    assert by_position.stdout == by_id.stdout
    assert "numbers: it matches, and the event is not routed yet" in by_position.stdout
    assert 'yes: type is "number.came"' in by_position.stdout


def test_why_not_begins_with_what_failed_first(project: Path, run: Run, ask: Ask) -> None:
    run("events", "send", "--type", "other")

    result = run("events", "why-not", "1", "--trigger", "numbers")
    answer = ask("events", "why-not", "1", "--trigger", "numbers")

    lines = result.stdout.splitlines()
    assert lines[3] == 'failed first: type is "other", wanted "number.came"'
    assert answer["triggers"][0]["became"] == "unmatched"
    assert run("events", "why-not", "1").exit_code == 2


def test_why_refuses_what_names_no_event(project: Path, run: Run) -> None:
    assert run("events", "why", "one").exit_code == 2
    assert run("events", "why", "a", "b", "c").exit_code == 2
    assert run("events", "why", "1").stderr == "error: there is no such event\n"
    assert run("events", "why", "/s", "one").stderr == "error: there is no such event\n"
    assert run("events", "why", "1", "--trigger", "nobody").exit_code == 1


def test_unmatched_events_are_listed(project: Path, ask: Ask) -> None:
    ask("events", "send", "--type", "number.came", "--data", '{"n": 3}')
    ask("events", "send", "--type", "other")

    items = ask("events", "list", "--unmatched")["items"]

    assert [item["event"]["type"] for item in items] == ["other"]


def test_lint_ends_with_1_when_it_finds_something(project: Path, run: Run) -> None:
    clean = run("triggers", "lint")
    (project / "triggers" / "more.yaml").write_text(
        "triggers:\n  - {name: never, dag: doubling, pattern: {detail: {n: [1]}}, parameters: {n: 1}}\n",
        "utf-8",
    )
    found = run("triggers", "lint", "--output", "json")

    assert (clean.exit_code, clean.stderr) == (0, "nothing found\n")
    assert found.exit_code == 1
    (one,) = json.loads(found.stdout)["findings"]
    assert (one["finding"], one["name"], one["file"], one["line"]) == (
        "never_true",
        "never",
        "triggers/more.yaml",
        2,
    )
    assert "never" in run("triggers", "lint").stdout


def test_lint_of_a_wrong_project_ends_with_2(project: Path, run: Run) -> None:
    (project / "triggers" / "more.yaml").write_text(
        "triggers:\n  - {name: t, dag: nobody, filters: []}\n", "utf-8"
    )

    assert run("triggers", "lint").exit_code == 2
