"""Our YAML: the 1.2 core schema without anchors, tags and surprises, with the place of everything."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tidemill.project.yaml_text import MAX_BYTES, MAX_DEPTH, YamlRefused, read_yaml


def refusals(text: bytes) -> list[str]:
    with pytest.raises(YamlRefused) as caught:
        read_yaml(text)
    return [f"{p.place.line}:{p.place.column}: {p.message}" for p in caught.value.problems]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("False", False),
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("Off", "Off"),
        ("null", None),
        ("~", None),
        ("", None),
        ("'null'", "null"),
        ('"5"', "5"),
        ("5", 5),
        ("-5", -5),
        ("+5", 5),
        ("010", 10),
        ("0o10", 8),
        ("0x1F", 31),
        ("0b1", "0b1"),
        ("1_000", "1_000"),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1.", 1.0),
        ("1e3", 1000.0),
        ("1.2.3", "1.2.3"),
        ("12:30:45", "12:30:45"),
        ("2024-01-01", "2024-01-01"),
        ("2024-01-01T10:00:00Z", "2024-01-01T10:00:00Z"),
        ("=", "="),
        ("18446744073709551615", 2**64 - 1),
        ("-9223372036854775808", -(2**63)),
        ("|\n  a\n  b\n", "a\nb\n"),
        ("<<", "<<"),
    ],
)
def test_yaml_scalar_follows_the_core_schema(text: str, value: Any) -> None:
    result = read_yaml(f"k: {text}\n".encode()).value["k"]

    assert (result, type(result)) == (value, type(value))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"a: 1\nb: 2\na: 3\n", "3:1: duplicate key 'a'; it is at line 1 already"),
        (b"x: {a: 1, a: 2}\n", "1:11: duplicate key 'a'; it is at line 1 already"),
        (b"a: &x 1\n", "1:4: anchors (&x) are not read; write the value out"),
        (b"a: *x\n", "1:4: aliases (*x) are not read; write the value out"),
        (b"a: !!str 1\n", "1:4: tags (tag:yaml.org,2002:str) are not read"),
        (b"a: !ruby/object x\n", "1:4: tags (!ruby/object) are not read"),
        (
            b"a: !!python/name:os.system x\n",
            "1:4: tags (tag:yaml.org,2002:python/name:os.system) are not read",
        ),
        (b"1: x\n", "1:1: a key must be text; put it in quotes"),
        (b"? [a]\n: x\n", "1:3: a key must be text; put it in quotes"),
        (b"true: x\n", "1:1: a key must be text; put it in quotes"),
        (b"a: .nan\n", "1:4: .nan is not a number that JSON has"),
        (b"a: -.inf\n", "1:4: -.inf is not a number that JSON has"),
        (b"a: 1e999\n", "1:4: 1e999 is too large for a number"),
        (b"a: 18446744073709551616\n", "1:4: 18446744073709551616 is beyond 64 bits; put it in quotes"),
        (b"a: 1\n---\nb: 1\n", "2:1: a file holds one document; remove the --- line and what follows it"),
        (b"a: b: c\n", "1:5: not YAML: mapping values are not allowed in this context"),
        (b"ok: 1\nb: \xff\n", "2:1: the file is not UTF-8 text"),
        (b"ok: 1\nb: x\x07\n", "2:5: not YAML: control characters are not allowed"),
    ],
)
def test_yaml_that_is_refused_says_where_and_why(text: bytes, problem: str) -> None:
    assert refusals(text) == [problem]


def test_yaml_reports_everything_it_can_read_past() -> None:
    assert len(refusals(b"a: &x 1\na: 2\nb: !!int 3\nc: .nan\n5: 1\n")) == 5


def test_yaml_depth_is_limited() -> None:
    deepest = b"[" * MAX_DEPTH + b"]" * MAX_DEPTH

    assert read_yaml(deepest).value is not None
    assert refusals(b"[" + deepest + b"]") == [f"1:65: nested deeper than {MAX_DEPTH} levels"]
    (endless,) = refusals(b"[" * 100_000)
    assert endless.endswith(
        f": nested deeper than {MAX_DEPTH} levels"
    )  # a parser may stop before events reach us


def test_yaml_size_is_limited() -> None:
    filled = b"a: " + b"x" * (MAX_BYTES - 3)

    assert len(read_yaml(filled).value["a"]) == MAX_BYTES - 3
    assert refusals(filled + b"x") == [
        f"1:1: the file has {MAX_BYTES + 1} bytes; at most {MAX_BYTES} are read"
    ]


def test_yaml_digits_without_end_are_refused_quickly() -> None:
    assert "beyond 64 bits" in refusals(b"a: " + b"9" * 1_000_000)[0]


def test_yaml_knows_the_place_of_every_member() -> None:
    text = read_yaml(b"a:\n  - name: x\n    list: [1, {k: 2}]\n  - y\n'b/~': 3\n")

    assert text.place("") == (1, 1)
    assert text.place("/a") == (1, 1)
    assert text.place("/a/0") == (2, 5)
    assert text.place("/a/0/list") == (3, 5)
    assert text.place("/a/0/list/1/k") == (3, 16)
    assert text.place("/a/1") == (4, 5)
    assert text.place("/b~1~0") == (5, 1)


def test_yaml_place_of_what_is_not_there_is_that_of_what_is_around_it() -> None:
    text = read_yaml(b"a:\n  - name: x\n")

    assert text.place("/a/0/missing/deeper") == (2, 5)
    assert text.place("/zzz") == (1, 1)


def test_yaml_text_without_content_is_none() -> None:
    assert read_yaml(b"").value is None
    assert read_yaml(b"# nothing\n").value is None
    assert read_yaml(b"\xef\xbb\xbfa: 1").value == {"a": 1}


#: YAML's \u escapes reach the basic plane; what lies beyond is written as it is, never as a pair.
TEXTS = st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"]))
TEXT_KEYS = st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"]), max_size=100)
JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT_KEYS, inner, max_size=4),
    max_leaves=12,
)


@given(JSON_VALUES)
def test_yaml_reads_json_as_json(value: Any) -> None:
    assert read_yaml(json.dumps(value).encode()).value == value


@given(st.binary(max_size=60) | st.text("[]{}:,-&*!|>'\"#%@ \n\tab1.~?", max_size=40).map(str.encode))
@example(b"%YAML 9.9\n--- a")
@example(b"%TAG ! x\n")
@example(b'"\\ud800"')
@example("\ufffe\ud7ff".encode())
def test_yaml_of_any_bytes_is_json_or_refused(text: bytes) -> None:
    try:
        value = read_yaml(text).value
    except YamlRefused as error:
        problems = error.problems
    else:
        problems = ()
        json.dumps(value, allow_nan=False)

    assert all(problem.place >= (1, 1) and problem.message for problem in problems)
