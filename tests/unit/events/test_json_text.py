"""JSON at the door: every refusal, every limit, and the same verdict as a slow and obvious reader."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tidemill.errors import EventRejected
from tidemill.events import json_text


def verdict(body: bytes, *, envelope: int = 0) -> str:
    try:
        json_text.parse(body, envelope=envelope)
    except EventRejected as refusal:
        return refusal.code
    return "accepted"


def nested(depth: int, opening: str = "[", closing: str = "]") -> bytes:
    return (opening * depth + ("1" if opening != "[" else "") + closing * depth).encode()


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b"{}", {}),
        (b" [1, 2] \r\n", [1, 2]),
        (b'{"a": {"a": 1}, "b": [{"a": 1}, {"a": 2}]}', {"a": {"a": 1}, "b": [{"a": 1}, {"a": 2}]}),
        (b'"\\u00e9\\/\\ud83d\\ude00"', "\u00e9/\U0001f600"),
        (b'{"at": "12:30:00", "url": "https://a:1/"}', {"at": "12:30:00", "url": "https://a:1/"}),
        (b'"00000000000000000000000000"', "00000000000000000000000000"),
        (b"[1.50, 1E5, 1e-7, -0, -0.0, 1e-400]", [1.5, 1e5, 1e-7, 0, -0.0, 0.0]),
        (b"0.12345678901234567890123", 0.12345678901234567890123),
        (b"1e300", 1e300),
        (b"null", None),
    ],
)
def test_parse_accepts_json(body: bytes, value: Any) -> None:
    assert json_text.parse(body) == value


@pytest.mark.parametrize(
    "body",
    [
        b"", b" ", b"{", b"[1,]", b'{"a":1,}', b"{'a':1}", b"nul", b"[1 2]", b"01", b"1.", b".5", b"+1",
        b"0x10",
        b"NaN", b"-Infinity", b"[Infinity]", b"// c\n1", b'"\x01"', b'"\t"', b'"\\x41"', b'"\\u12"',
        b"1 2", b"{1:2}",
        b'\xef\xbb\xbf{"a":1}', b"\x00", b'"a', b"[1]]",
    ],
)  # fmt: skip
def test_parse_refuses_what_is_not_json(body: bytes) -> None:
    assert verdict(body) == "invalid_json"


@pytest.mark.parametrize(
    "body",
    [
        b'"\xff"', b'"\xc0\xaf"', b'"\xed\xa0\x80"', b'"\xf4\x90\x80\x80"', b'"\xe2\x82"',
        b"\xff\xfe[\x00]\x00",
        b'"\\ud800"', b'"\\udc00"', b'"\\ud800\\u0041"', b'"\\udc00\\ud800"', b'{"\\ud800": 1}',
        b'["\\uD83D"]',
    ],
)  # fmt: skip
def test_parse_refuses_broken_unicode(body: bytes) -> None:
    assert verdict(body) == "invalid_unicode"


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":1,"a":1}', b'{"a": 1, "a": 2}', b'{"a":1,"\\u0061":2}', b'{"b":[{"a":1,"c":2,"a":3}]}',
        b'{"":1,"":2}', b'{"a":{"x":1},"a":{"x":1}}', b'{"a":":","a":"::"}', b'{"a":1,"b":"\\u003a","a":2}',
        b'{"a":1,"b":"\\u003A\\u003a","a":2}', b'{"\xc3\xa9":1,"\\u00e9":2}', b'{"a":1 ,\n"a" : 1}',
        b'{"\\u003a": ":", ":": "\\u003A"}', b'{"a":"\\\\u003a","b":"\\u003a","a":1}',
    ],
)  # fmt: skip
def test_parse_refuses_duplicate_members(body: bytes) -> None:
    assert verdict(body) == "duplicate_key"


@pytest.mark.parametrize("shape", ["%s", "[%s]", '{"a": %s}', '{"\u00e9":[ %s ]}', '{"a":1.50,"b":%s}'])
@pytest.mark.parametrize(
    ("number", "expected"),
    [
        ("18446744073709551614", "accepted"),
        ("18446744073709551615", "accepted"),
        ("18446744073709551616", "number_out_of_range"),
        ("-9223372036854775807", "accepted"),
        ("-9223372036854775808", "accepted"),
        ("-9223372036854775809", "number_out_of_range"),
        ("1" * 5000, "number_out_of_range"),
        ("-" + "9" * 100_000, "number_out_of_range"),
        ("1e308", "accepted"),
        ("1e309", "number_out_of_range"),
        ("1e999", "number_out_of_range"),
        ("-1E+400", "number_out_of_range"),
        ("1" * 400 + ".0", "number_out_of_range"),
    ],
)
def test_parse_keeps_integers_exact_or_refuses_them(shape: str, number: str, expected: str) -> None:
    body = (shape % number).encode()

    assert verdict(body) == expected


def test_parse_keeps_the_largest_integers() -> None:
    assert json_text.parse(b"[18446744073709551615, -9223372036854775808]") == [2**64 - 1, -(2**63)]


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}"), ('[{"[":', "}]")])
@pytest.mark.parametrize("envelope", [0, 1, 2])
def test_parse_limits_nesting(opening: str, closing: str, envelope: int) -> None:
    step = opening.count("[") - opening.count('"[') + opening.count("{")
    largest = (64 + envelope) // step

    assert verdict(nested(largest - 1, opening, closing), envelope=envelope) == "accepted"
    assert verdict(nested(largest, opening, closing), envelope=envelope) == "accepted"
    assert verdict(nested(largest + 1, opening, closing), envelope=envelope) == "json_too_deep"


@pytest.mark.parametrize("depth", [1023, 1024, 1025, 5000, 100_000])
def test_parse_refuses_hostile_nesting_without_recursion(depth: int) -> None:
    assert verdict(nested(depth)) == "json_too_deep"


def test_parse_refuses_hostile_nesting_whatever_the_recursion_limit_is() -> None:
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(5000)
    try:
        assert verdict(nested(1100)) == "json_too_deep"
    finally:
        sys.setrecursionlimit(before)


def test_parse_does_not_take_width_or_text_for_depth() -> None:
    wide = json.dumps([[{}] for _ in range(500)] + ["[[[[{{{{" * 50]).encode()

    assert verdict(wide) == "accepted"


def test_refusals_do_not_echo_the_text() -> None:
    with pytest.raises(EventRejected) as caught:
        json_text.parse(b'{"password": "hunter2", hunter2}')

    assert "hunter2" not in caught.value.detail


def test_dump_writes_compact_utf8() -> None:
    assert json_text.dump({"a": ["\u00e9", 1.0, None]}) == '{"a":["\u00e9",1.0,null]}'.encode()


# ── against a slow and obvious reader ─────────────────────────────────────────────────────────────────────

_CHARACTER = st.sampled_from(
    ["a", ":", "{", "9", "\\u003a", "\\u003A", "\\u0061", "\\\\", "\\/", "\u00e9", " ", "\\n"]
)
_STRING = st.lists(_CHARACTER, max_size=4).map(lambda parts: '"' + "".join(parts) + '"')
_NUMBER = st.sampled_from(
    ["0", "-0", "1", "1.0", "1.50", "1e5", "1E+2", "18446744073709551615", "18446744073709551616",
     "1" * 25, "1e999",
     "-9223372036854775808", "-9223372036854775809", "0.1000000000000000055", "1e22",
     "123456789012345678901.5"]
)  # fmt: skip
_SPACE = st.sampled_from(["", "", " ", "\n\t "])


def _object(members: list[tuple[str, str, str]]) -> str:
    return "{" + ",".join(f"{space}{name}{space}:{space}{value}" for name, value, space in members) + "}"


_TEXT = st.recursive(
    _STRING | _NUMBER | st.sampled_from(["null", "true", "false"]),
    lambda inner: (
        st.lists(inner, max_size=4).map(lambda items: "[" + ", ".join(items) + "]")
        | st.lists(st.tuples(_STRING, inner, _SPACE), max_size=4).map(_object)
    ),
    max_leaves=12,
)


def _obvious_faults(text: str) -> set[str]:
    faults: set[str] = set()

    def members(pairs: list[tuple[str, Any]]) -> None:
        names = [name for name, _ in pairs]
        if len(set(names)) < len(names):
            faults.add("duplicate_key")

    def integer(token: str) -> None:
        if not -(2**63) <= int(token) < 2**64:
            faults.add("number_out_of_range")

    def number(token: str) -> None:
        if abs(float(token)) == float("inf"):
            faults.add("number_out_of_range")

    json.loads(text, object_pairs_hook=members, parse_int=integer, parse_float=number)
    return faults


@given(_TEXT)
@example('{"a":"\\u003a","a":1}')
@example('{"a" : 18446744073709551616}')
def test_parse_agrees_with_a_slow_reader(text: str) -> None:
    faults = _obvious_faults(text)

    assert verdict(text.encode()) in (faults or {"accepted"})
    if not faults:
        assert json_text.parse(text.encode()) == json.loads(text)
