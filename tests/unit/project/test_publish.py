"""The published JSON Schema says what the models say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from tidemill.project import publish
from tidemill.project.yaml_text import read_yaml

SCHEMAS = Path(__file__).parents[3] / "schemas"


def test_published_files_are_what_the_models_say() -> None:
    for name, text in publish.documents().items():
        assert (SCHEMAS / name).read_text(encoding="utf-8") == text, "run python -m tidemill.project.publish"


def test_write_makes_the_folder_and_every_file(tmp_path: Path) -> None:
    written = publish.write(tmp_path / "new")

    assert [path.name for path in written] == list(publish.documents())
    assert json.loads(written[0].read_bytes())["$id"] == "https://tidemill.dev/schemas/triggers.v1.json"


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("sources: [{name: a, webhook: {event: {type: x, id: $.body.id}, secret: {env: A}}}]", True),
        ("sources: [{name: a, files: {path: in, quiet: 2s}}]", True),
        ("sources: [{name: a, files: {path: in, quiet: 2}}]", True),
        ("triggers: [{name: a, dag: d, filters: [{exact: {type: x}}], parameters: {a: [$.data]}}]", True),
        ("triggers:\nsubscriptions: [{name: a, pattern: {type: [x]}, kafka: {topic: t}}]", True),
        ("sources: [{name: a b, kafka: {topics: [t]}}]", False),
        ("sources: [{name: a}]", False),
        ("sources: [{name: a, kafka: {topics: [t]}, files: {path: x}}]", False),
        ("sources: [{name: a, webhook: {event: {id: x}}}]", False),
        ("sources: [{name: a, webhook: {event: {type: x}, secret: clear}}]", False),
        ("sources: [{name: a, files: {path: in, quiet: 2 s}}]", False),
        ("triggers: [{name: a, dag: d}]", False),
        ("triggers: [{name: a, dag: d, filters: [], extra: 1}]", False),
        ("trigers: []", False),
    ],
)
def test_published_schema_tells_right_files_from_wrong_ones(text: str, valid: bool) -> None:
    schema: Any = json.loads(publish.documents()["triggers.v1.json"])

    assert jsonschema_rs.validator_for(schema).is_valid(read_yaml(text.encode()).value) is valid
