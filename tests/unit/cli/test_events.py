"""Events without a server: the same answers, on the project's own store."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

Ask = Callable[..., Any]
Run = Callable[..., Result]

EVENT = {"specversion": "1.0", "id": "1", "source": "/x", "type": "t", "data": {"n": 1}}


def test_send_makes_an_event_of_options(project: Path, ask: Ask) -> None:
    sent = ask("events", "send", "-t", "number.came", "-s", "/n", "--subject", "one", "-d", '{"n": 1}')

    shown = ask("events", "show", "1")

    assert sent["position"] == 1
    assert sent["duplicate"] is False
    assert shown["event"] == {
        "specversion": "1.0",
        "id": sent["id"],
        "source": "/n",
        "type": "number.came",
        "subject": "one",
        "datacontenttype": "application/json",
        "data": {"n": 1},
    }


def test_send_says_that_nothing_routes_the_event(project: Path, run: Run) -> None:
    result = run("events", "send", "--type", "number.came")

    assert result.exit_code == 0
    assert result.stdout == "accepted at position 1\n"
    assert "no server runs for this project" in result.stderr


def test_send_with_an_id_twice_is_a_duplicate(project: Path, ask: Ask) -> None:
    arguments = ("events", "send", "-t", "t", "--id", "same", "-d", "7")
    ask(*arguments)

    again = ask(*arguments)

    assert again == {"source": "/cli", "id": "same", "position": 1, "duplicate": True}


def test_send_with_an_id_and_other_data_is_refused(project: Path, ask: Ask, run: Run) -> None:
    ask("events", "send", "-t", "t", "--id", "same", "-d", "7")

    result = run("events", "send", "-t", "t", "--id", "same", "-d", "8")

    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("data", ["-5", "1e2", '"text"', "[1, 2]", "null", '{"a": 12345678901234567}'])
def test_send_takes_any_json_as_data(project: Path, ask: Ask, data: str) -> None:
    ask("events", "send", "-t", "t", "--data", data)

    assert ask("events", "show", "1")["event"].get("data") == json.loads(data)


def test_send_reads_data_from_a_file_or_standard_input(project: Path, ask: Ask) -> None:
    (project / "data.json").write_text('{"from": "file"}', "utf-8")

    ask("events", "send", "-t", "t", "-d", "@data.json")
    ask("events", "send", "-t", "t", "-d", "-", input='{"from": "stdin"}')

    found = [item["event"]["data"]["from"] for item in ask("events", "list")["items"]]
    assert found == ["stdin", "file"]


def test_send_takes_a_whole_event(project: Path, ask: Ask) -> None:
    sent = ask("events", "send", "--event", "-", input=json.dumps(EVENT))

    assert sent == {"position": 1, "duplicate": False}
    assert ask("events", "show", "1")["event"]["data"] == {"n": 1}


def test_send_takes_a_batch(project: Path, ask: Ask) -> None:
    (project / "batch.json").write_text(json.dumps([EVENT, EVENT | {"id": "2"}]), "utf-8")

    sent = ask("events", "send", "--event", "batch.json")

    assert [one["position"] for one in sent["events"]] == [1, 2]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--data", "1"), "an event has a type"),
        (("--type", "t", "--data", "{x"), "--data is not JSON"),
        (("--type", "t", "--data", '1,"id":"forged"'), "--data is not JSON"),
        (("--type", "t", "--data", "@missing"), "missing cannot be read"),
        (("--type", "t", "--event", "-"), "--event brings whole events"),
        (("--event", "missing"), "missing cannot be read"),
    ],
)
def test_send_refuses_a_wrong_command_line(
    project: Path, run: Run, arguments: tuple[str, ...], sentence: str
) -> None:
    result = run("events", "send", *arguments)

    assert result.exit_code == 2
    assert sentence in result.stderr


def test_send_tells_the_place_in_a_batch_that_was_refused(project: Path, run: Run) -> None:
    batch = json.dumps([EVENT, EVENT | {"id": ""}])

    result = run("events", "send", "--event", "-", input=batch)

    assert result.exit_code == 1
    assert "event 1: " in result.stderr


def test_list_is_a_page_that_leads_to_the_next(project: Path, ask: Ask) -> None:
    for name in ("a", "b", "c"):
        ask("events", "send", "-t", name)

    first = ask("events", "list", "--limit", "2")
    second = ask("events", "list", "--limit", "2", "--before", str(first["next"]))

    assert [item["event"]["type"] for item in first["items"]] == ["c", "b"]
    assert [item["event"]["type"] for item in second["items"]] == ["a"]
    assert second["next"] is None


def test_list_by_type_as_a_table(project: Path, ask: Ask, run: Run) -> None:
    ask("events", "send", "-t", "wanted")
    ask("events", "send", "-t", "other")

    lines = run("events", "list", "--type", "wanted").stdout.splitlines()

    assert lines[0].split() == ["position", "received", "type", "source", "subject", "id"]
    assert len(lines) == 2
    assert "wanted" in lines[1]


def test_show_of_no_event_is_one_sentence(project: Path, run: Run) -> None:
    result = run("events", "show", "9")

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "error: there is no such event\n"


def test_hostile_text_moves_no_cursor(project: Path, ask: Ask, run: Run) -> None:
    hostile = "x\\u001b[2Jy\\u009b31mz\\u202e\\u001b]0;title\\u0007"
    ask("events", "send", "-t", "t", "-d", f'{{"text": "{hostile}"}}')

    table = run("events", "show", "1").stdout
    text = run("events", "show", "1", "-o", "json").stdout

    assert not set("\x1b\x9b\x07\u202e") & set(table + text)
    assert json.loads(text)["event"]["data"]["text"] == json.loads(f'"{hostile}"')
