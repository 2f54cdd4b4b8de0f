"""Choosing fields that lie together, and what it costs at most."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tidemill.events.event import Event
from tidemill.patterns import compile_pattern


@pytest.mark.parametrize(
    ("pattern", "event", "expected"),
    [
        # nested arrays lie in the elements of those around them
        ({"a": ["x"], "a.y": [1]}, {"a": ["x", {"y": 1}]}, True),
        ({"a": ["x"], "a.y": [1]}, {"a": [["x"], [{"y": 1}]]}, False),
        ({"a": ["x"], "a.y": [1]}, {"a": [["x", {"y": 1}]]}, True),
        ({"a": {"b": [1], "c": {"d": [2]}}}, {"a": [{"b": 1, "c": [{"d": 3}, {"d": 2}]}]}, True),
        ({"a": {"b": [1], "c": {"d": [2]}}}, {"a": [{"b": 1, "c": [{"d": 3}]}, {"c": [{"d": 2}]}]}, False),
        ({"a": {"c": {"d": [1], "e": [2]}}}, {"a": [{"c": [{"d": 1}, {"e": 2}]}]}, False),
        # different arrays do not constrain each other
        ({"a": {"x": [1]}, "b": {"x": [2]}}, {"a": [{"x": 0}, {"x": 1}], "b": [{"x": 2}, {"x": 0}]}, True),
        # absence speaks of the elements that were chosen for paths before it, in the order of paths
        ({"a": {"b": [1], "c": [{"exists": False}]}}, {"a": [{"b": 1}, {"b": 2, "c": 3}]}, True),
        ({"a": {"b": [1], "c": [{"exists": False}]}}, {"a": [{"b": 1, "c": 3}, {"b": 2}]}, False),
        ({"a": {"b": [{"exists": False}], "c": [1]}}, {"a": [{"c": 1}, {"b": 2}]}, False),
        ({"a": {"b": [{"exists": False}], "c": [1]}}, {"a": [{"c": 1}, {"d": 2}]}, True),
        ({"a": {"c": [1], "b": [{"exists": False}]}}, {"a": [{"c": 1}, {"b": 2}]}, False),
        # dotted names lead to the same path
        ({"a": {"b": [1], "c": [2]}}, {"a": [{"b": 1}], "a.c": 2}, True),
        ({"a": {"b": {"c": [1], "d": [2]}}}, {"a.b": [{"c": 1}], "a": {"b": [{"d": 2}]}}, True),
    ],
)
def test_fields_are_chosen_together(pattern: Any, event: Any, expected: bool) -> None:
    in_data = Event(id="1", source="/", type="t", data=event)

    assert compile_pattern(pattern).matches_json(event) is expected
    assert compile_pattern({"data": pattern}).matches(in_data) is expected


def test_long_arrays_cost_their_length() -> None:
    rule = compile_pattern(
        {"a": {f"k{number}": [{"numeric": [">=", 0]}] for number in range(8)} | {"last": [-1]}}
    )

    def seconds(length: int) -> float:
        event = {
            "a": [{f"k{number}": 1 for number in range(8)} | {"last": element} for element in range(length)]
        }
        started = time.process_time()
        assert not rule.matches_json(event)
        return time.process_time() - started

    seconds(100)
    short, long = min(seconds(500) for _ in range(3)), min(seconds(2_000) for _ in range(3))

    assert long < 12 * max(short, 0.001)


def test_paths_spelled_in_many_ways_do_not_linger() -> None:
    names = [f"k{number}" for number in range(10)]
    rule = compile_pattern({"a": {"b": {"c": {"d": {name: [1] for name in names}}}}})
    spelled = [{name: 1 for name in names if name != f"k{missing}"} for missing in range(10)] * 20
    event = {
        "a.b.c.d": spelled,
        "a": {"b.c.d": spelled, "b": {"c.d": spelled, "c": {"d": [{"k0": 0}, {"k1": 0}]}}},
        "a.b": {"c.d": spelled, "c": {"d": spelled}},
        "a.b.c": {"d": spelled},
    }
    started = time.process_time()

    rule.matches_json(event)

    assert time.process_time() - started < 3
