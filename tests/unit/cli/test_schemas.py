"""`tidemill schemas check`: examples of schemas, and recorded events that a changed schema would refuse."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SCHEMA = {"$id": "https://x.test/n/1", "type": "object", "properties": {"n": {"type": "integer"}}}


@pytest.fixture
def write_schema(project: Path) -> Callable[..., None]:
    """Writes the one schema of the project, changed."""

    def write(**members: Any) -> None:
        (project / "schemas").mkdir(exist_ok=True)
        (project / "schemas" / "n.json").write_text(json.dumps({**SCHEMA, **members}), "utf-8")

    return write


def test_project_without_schemas_has_nothing_wrong(project: Path, run: Callable[..., Any]) -> None:
    result = run("schemas", "check")

    assert (result.exit_code, result.stdout) == (0, "0 schemas: 0 refused, 0 warned of\n")


def test_examples_are_checked(write_schema: Callable[..., None], run: Callable[..., Any]) -> None:
    write_schema(examples=[{"n": 1}, {"n": "x"}])

    result = run("schemas", "check")

    assert result.exit_code == 1
    assert "https://x.test/n/1 would be refused at /examples/1/n" in result.stdout
    assert "1 schemas: 1 refused" in result.stdout


@pytest.mark.parametrize(("reaction", "code"), [("refuse", 1), ("warn", 0)])
def test_recorded_events_are_checked_against_a_changed_schema(
    write_schema: Callable[..., None], run: Callable[..., Any], reaction: str, code: int
) -> None:
    write_schema(**{"x-tidemill": {"types": ["number.came"]}})
    for n in (1, 200, 3):
        assert run("events", "send", "--type", "number.came", "--data", json.dumps({"n": n})).exit_code == 0
    assert run("events", "send", "--type", "other", "--data", '{"n": 500}').exit_code == 0
    fit = run("schemas", "check", "--against-archive")

    changed = {"types": ["number.came"], "on_violation": reaction}
    write_schema(properties={"n": {"type": "integer", "maximum": 100}}, **{"x-tidemill": changed})
    result = run("schemas", "check", "--against-archive", "--output", "json")

    assert (fit.exit_code, fit.stdout) == (0, "1 schemas, 4 events: 0 refused, 0 warned of\n")
    assert result.exit_code == code
    told = json.loads(result.stdout)
    assert (told["events"], told["refused"] + told["warned"]) == (4, 1)
    (finding,) = told["findings"]
    assert (finding["position"], finding["refused"]) == (2, reaction == "refuse")
    assert finding["problems"][0]["attribute"] == "/data/n"
    assert run("schemas", "check", "--against-archive", "--after", "2").exit_code == 0


def test_event_sent_by_hand_is_refused_with_its_place(
    write_schema: Callable[..., None], run: Callable[..., Any]
) -> None:
    write_schema(**{"x-tidemill": {"types": ["number.came"]}})

    result = run("events", "send", "--type", "number.came", "--data", '{"n": "x"}')

    assert result.exit_code == 1
    assert "does not follow https://x.test/n/1" in result.stderr
