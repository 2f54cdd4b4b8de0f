"""Values made by Python code become JSON values exactly, or are refused."""

from __future__ import annotations

import dataclasses
import enum
import math
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.errors import EventRejected
from tidemill.events import json_value


class Colour(enum.StrEnum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


@dataclasses.dataclass
class Point:
    x: int


def deep(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        ("text", "text"),
        ((1, (2, "a")), [1, [2, "a"]]),
        ({"a": (1.5, None)}, {"a": [1.5, None]}),
        ([Colour.RED, Level.HIGH], ["red", 3]),
        ({Colour.RED: 1}, {"red": 1}),
        (2**64 - 1, 2**64 - 1),
        (-(2**63), -(2**63)),
    ],
)
def test_normalize_gives_what_a_reader_would_get(value: object, expected: Any) -> None:
    normal = json_value.normalize(value)

    assert normal == expected
    assert type(normal) is type(expected)


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (math.nan, "number_out_of_range"),
        ({"a": [math.inf]}, "number_out_of_range"),
        (2**64, "number_out_of_range"),
        ([-(2**63) - 1], "number_out_of_range"),
        ("\ud800", "invalid_unicode"),
        ({"\udfff": 1}, "invalid_unicode"),
        ({1: 2}, "invalid_cloudevent"),
        ([b"bytes"], "invalid_cloudevent"),
        (Point(1), "invalid_cloudevent"),
        (datetime(2026, 1, 1, tzinfo=UTC), "invalid_cloudevent"),
        ({1, 2}, "invalid_cloudevent"),
    ],
)
def test_normalize_refuses_what_has_no_exact_text(value: object, code: str) -> None:
    with pytest.raises(EventRejected) as caught:
        json_value.normalize(value)

    assert caught.value.code == code


@pytest.mark.parametrize(("depth", "accepted"), [(63, True), (64, True), (65, False), (300, False)])
@pytest.mark.parametrize("inside_a_tuple", [False, True])
def test_normalize_limits_nesting(depth: int, accepted: bool, inside_a_tuple: bool) -> None:
    value = (deep(depth - 1),) if inside_a_tuple else deep(depth)

    if accepted:
        assert json_value.normalize(value) == deep(depth)
    else:
        with pytest.raises(EventRejected, match="more than 64 deep"):
            json_value.normalize(value)


def test_normalize_refuses_a_value_that_contains_itself() -> None:
    value: list[Any] = []
    value.append(value)

    with pytest.raises(EventRejected, match="more than 64 deep"):
        json_value.normalize(value)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False,
        allow_infinity=False) | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=8,
    )
)  # fmt: skip
def test_normalize_leaves_json_values_as_they_are_and_detaches_them(value: Any) -> None:
    normal = json_value.normalize(value)

    assert normal == value
    assert not isinstance(value, dict | list) or normal is not value
