"""Lines of `tidemill match`."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.patterns import match_line

CLOUDEVENT = {"specversion": "1.0", "id": "1", "source": "/", "type": "a", "data": {"x": [1, 2]}}


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ({"pattern": {"type": ["a"]}, "event": CLOUDEVENT}, True),
        ({"pattern": {"data": {"x": [2]}}, "event": CLOUDEVENT}, True),
        ({"pattern": {"data": {"x": [3]}}, "event": CLOUDEVENT}, False),
        ({"filters": [{"exact": {"type": "a"}}], "event": CLOUDEVENT}, True),
        ({"filters": {"exact": {"type": "b"}}, "event": CLOUDEVENT}, False),
        ({"filters": [], "event": CLOUDEVENT}, True),
        ({"pattern": {"detail-type": ["x"]}, "event": {"detail-type": "x"}}, True),
        ({"pattern": {"a": [{"exists": False}]}, "event": {}}, True),
        ({"filters": [{"not": {"sql": "type = 'b'"}}], "event": CLOUDEVENT}, True),
        ({"cesql": "type = 'a' AND NOT EXISTS subject", "event": CLOUDEVENT}, True),
        ({"cesql": "subject = 'a'", "event": CLOUDEVENT}, False),
        ({"cesql": "NOSUCH(type)", "event": CLOUDEVENT}, False),
        ({"cesql": "LENGTH(type)", "event": CLOUDEVENT}, False),
        ({"cel": "type == 'a' && 2 in data.x && event.id == '1'", "event": CLOUDEVENT}, True),
        ({"cel": "data.x", "event": CLOUDEVENT}, False),
        ({"cel": "data.y == 1", "event": CLOUDEVENT}, False),
        ({"cel": "a.b > 1", "event": {"a": {"b": 2}}}, True),
    ],
)
def test_line_is_answered(question: Any, expected: bool) -> None:
    assert match_line(json.dumps(question)) == {"match": expected}
    assert match_line(json.dumps(question).encode() + b"\n") == {"match": expected}


def test_line_is_explained_when_asked() -> None:
    question = {"filters": [{"exact": {"type": "b"}}], "event": CLOUDEVENT}
    rule = {"what": "condition", "holds": False, "path": "type", "wanted": '"b"', "found": ["a"]}

    assert match_line(json.dumps(question), explained=True) == {"match": False, "explain": rule}
    plain = {"cel": "a == 1", "event": {"a": 1}}
    assert match_line(json.dumps(plain), explained=True) == {"match": True}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", "invalid_json"),
        ("nonsense", "invalid_json"),
        ('{"pattern": {"a": [1]}, "event": {}', "invalid_json"),
        ("[]", "a line is a JSON object"),
        ("null", "a line is a JSON object"),
        ("{}", "one of filters, pattern, cesql, cel"),
        ('{"event": {}}', "one of filters, pattern, cesql, cel"),
        ('{"pattern": {"a": [1]}}', "has an event"),
        ('{"pattern": {"a": [1]}, "filters": [], "event": {}}', "exactly one of"),
        ('{"pattern": {"a": [1]}, "event": {}, "rule": 1}', "unknown key 'rule'"),
        ('{"pattern": {"a": [1]}, "event": []}', "an event is a JSON object"),
        ('{"pattern": {"a": 1}, "event": {}}', "/a: must be a non-empty list"),
        ('{"pattern": {"a": [1], "a": [2]}, "event": {}}', "duplicate_key"),
        ('{"filters": [{"sql": "1"}], "event": {}}', "invalid_cloudevent"),
        ('{"filters": [{"sql": "1 +"}], "event": {}}', "/0/sql: column 4"),
        ('{"cesql": "type = ", "event": {}}', "the rule: column 8"),
        ('{"cesql": 5, "event": {}}', "non-empty string"),
        ('{"cesql": "TRUE", "event": {"type": "a"}}', "specversion is missing"),
        ('{"cesql": "TRUE", "event": []}', "an event is a JSON object"),
        ('{"cel": "1 +", "event": {}}', "the rule: line 1, column 4"),
        ('{"cel": "nosuch(1)", "event": {}}', "there is no function nosuch"),
        ('{"filters": [], "event": {"id": "1"}}', "invalid_cloudevent"),
        ('{"filters": [], "event": {"specversion": "0.3"}}', "unsupported_specversion"),
        ('{"pattern": {"a": [1]}, "event": {"specversion": "1.0"}}', "invalid_cloudevent"),
        ('{"pattern": {"a": [1e999]}, "event": {}}', "number_out_of_range"),
        ("\ud800", "surrogate"),
        (b"\xff", "invalid_unicode"),
        ("[" * 100_000, "json_too_deep"),
        ('{"pattern": {"a": [1]}, "event": {"a": ' + "[" * 100 + "]" * 100 + "}}", "json_too_deep"),
    ],
)
def test_bad_line_is_answered_with_an_error(line: str | bytes, words: str) -> None:
    answer = match_line(line)

    assert list(answer) == ["error"]
    assert words in str(answer["error"])


@given(st.one_of(st.text(), st.binary()))
def test_any_line_is_answered(line: str | bytes) -> None:
    assert list(match_line(line)) == ["error"]
