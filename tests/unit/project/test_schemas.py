"""JSON Schemas of event data: compiled, referring to each other, never fetched."""

from __future__ import annotations

import socket
from typing import Any

import orjson
import pytest

from tidemill.project import publish


def write(folder: Any, name: str, schema: Any) -> None:
    folder.write(f"schemas/{name}.json", orjson.dumps(schema, option=orjson.OPT_INDENT_2).decode())


def test_schemas_are_compiled_by_id_and_may_refer_to_each_other(folder: Any) -> None:
    write(folder, "order", {"$id": "https://x.test/order/1", "properties": {"total": {"$ref": "money/1"}}})
    write(folder, "money", {"$id": "https://x.test/order/money/1", "type": "integer"})
    write(
        folder, "own", {"$id": "urn:x:own", "properties": {"total": {"$ref": "https://x.test/order/money/1"}}}
    )

    schemas = folder.load().schemas

    assert sorted(schemas) == ["https://x.test/order/1", "https://x.test/order/money/1", "urn:x:own"]
    assert schemas["https://x.test/order/1"].is_valid({"total": 3})
    assert not schemas["https://x.test/order/1"].is_valid({"total": "3"})
    assert not schemas["urn:x:own"].is_valid({"total": "3"})


def test_schemas_that_tidemill_publishes_are_no_schemas_of_events(folder: Any) -> None:
    publish.write(folder.root / "schemas")

    assert dict(folder.load().schemas) == {}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[1]", "1: a schema is a JSON object"),
        ('{"a":\n ,}', "2: not JSON: unexpected character, expected a JSON value"),
        ("{}", "1: '$id' is missing: it is the dataschema of the events that the schema describes"),
        ('{"$id": 5}', "1: '$id' is missing: it is the dataschema of the events that the schema describes"),
        (
            '{"$id": "urn:x",\n "properties": {\n  "a": {"required": 5}}}',
            '3: not a usable JSON Schema: 5 is not of type "array"',
        ),
        ('{"$id": "urn:x",\n "pattern": "(?=a)"}', '2: not a usable JSON Schema: "(?=a)" is not a "regex"'),
    ],
)
def test_schema_that_cannot_be_used_is_a_problem_at_its_line(folder: Any, text: str, problem: str) -> None:
    folder.write("schemas/s.json", text)

    assert folder.problems() == [f"schemas/s.json:{problem}"]


def test_schema_id_may_be_used_once(folder: Any) -> None:
    write(folder, "a", {"$id": "urn:x"})
    write(folder, "b", {"type": "object", "$id": "urn:x"})

    assert folder.problems() == [
        "schemas/b.json:3: schema 'urn:x' is defined twice: here and in schemas/a.json"
    ]


@pytest.mark.parametrize("keyword", ["$ref", "$schema"])
def test_schema_that_refers_outside_is_refused_without_connecting(
    folder: Any, monkeypatch: pytest.MonkeyPatch, keyword: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        write(
            folder, "s", {"$id": "urn:x", keyword: f"http://127.0.0.1:{server.getsockname()[1]}/schema.json"}
        )

        (problem,) = folder.problems()

        assert problem.startswith("schemas/s.json:1: not a usable JSON Schema: ")
        with pytest.raises(BlockingIOError):
            server.accept()
