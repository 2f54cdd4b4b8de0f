"""Many rules against one event."""

from __future__ import annotations

from typing import Any

import pytest

from tidemill.events.event import Event
from tidemill.patterns import Index, Rule, combine, compile_filters, compile_pattern


def event(**given: Any) -> Event:
    return Event(**{"id": "1", "source": "/shop", "type": "order", **given})


def test_index_names_matching_rules_in_the_order_given() -> None:
    index = Index(
        {
            "by data": compile_pattern({"data": {"amount": [5]}}),
            "other": compile_pattern({"type": ["invoice"]}),
            "by type": compile_pattern({"type": ["order"]}),
            "always": compile_filters([]),
            "by prefix": compile_filters([{"prefix": {"source": "/sh"}}]),
        }
    )

    assert index.match(event(data={"amount": 5})) == ["by data", "by type", "always", "by prefix"]
    assert index.match(event(type="x", source="/")) == ["always"]


def test_index_of_no_rules_matches_nothing() -> None:
    assert Index({}).match(event()) == []


def test_index_names_a_rule_once_however_it_is_found() -> None:
    either = {"$or": [{"type": ["order"]}, {"source": ["/shop"]}, {"data": {"x": [1, 2]}}]}
    index = Index({"either": compile_pattern(either), "same": compile_pattern(either)})

    assert index.match(event(data={"x": [1, 2, 1]})) == ["either", "same"]


@pytest.mark.parametrize(
    ("rule", "matching", "other"),
    [
        (compile_filters([{"exact": {"priority": "5"}}]), {"extensions": {"priority": 5}}, {}),
        (compile_filters([{"exact": {"express": "true"}}]), {"extensions": {"express": True}}, {}),
        (
            compile_pattern({"priority": [5]}),
            {"extensions": {"priority": 5}},
            {"extensions": {"priority": "5"}},
        ),
        (
            compile_pattern({"priority": ["5"]}),
            {"extensions": {"priority": "5"}},
            {"extensions": {"priority": 5}},
        ),
        (compile_pattern({"data": {"x": [1]}}), {"data": {"x": 1.0}}, {"data": {"x": True}}),
        (compile_pattern({"data": {"x": [True]}}), {"data": {"x": True}}, {"data": {"x": 1}}),
        (compile_pattern({"data": {"x": {"y": ["a"]}}}), {"data": {"x.y": "a"}}, {"data": {"y": "a"}}),
        (compile_pattern({"data": {"x": {"y": ["a"]}}}), {"data": [{"x": [[{"y": "a"}]]}]}, {"data": ["a"]}),
        (compile_pattern({"data": ["a"]}), {"data": "a"}, {"data": b"a"}),
        (compile_pattern({"data": [{"exists": False}]}), {}, {"data": 1}),
        (compile_pattern({"specversion": ["1.0"]}), {}, None),
        (compile_pattern({"data_base64": [{"prefix": "A"}]}), {"data": b"\x00"}, {"data": "A"}),
        (compile_filters([{"not": {"exact": {"type": "x"}}}]), {}, {"type": "x"}),
        (
            compile_pattern({"data": {"x": [{"numeric": [">", 1, "<=", 2]}]}}),
            {"data": {"x": 2}},
            {"data": {"x": 1}},
        ),
        (
            combine(compile_filters([{"exact": {"type": "order"}}]), compile_pattern({"data": {"x": [1]}})),
            {"data": {"x": 1}},
            {"data": {"x": 2}},
        ),
    ],
)
def test_index_finds_what_the_rule_matches(rule: Rule, matching: Any, other: Any) -> None:
    # five of the same, so that they are filed and not merely checked one by one
    index = Index({f"r{number}": rule for number in range(5)})

    assert rule.matches(event(**matching))
    assert len(index.match(event(**matching))) == 5
    if other is not None:
        assert not rule.matches(event(**other))
        assert index.match(event(**other)) == []


def test_index_checks_everything_the_lookup_did_not_prove() -> None:
    rules = {
        "both": compile_filters(
            [{"any": [{"all": [{"exact": {"type": "a"}}, {"suffix": {"source": "x"}}]}]}]
        ),
        "twice": compile_pattern({"type": ["a"], "$or": [{"type": ["b"]}, {"type": ["c"]}]}),
        "mixed": compile_pattern({"type": ["a", {"anything-but": "b"}], "source": ["/x"]}),
    }

    assert Index(rules).match(event(type="a", source="/shop")) == []
    assert Index(rules).match(event(type="c", source="/x")) == ["mixed"]


class CountingStr(str):
    """A type that tells how often it is compared."""

    compared = 0
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        CountingStr.compared += 1
        return str.__eq__(self, other)


@pytest.mark.parametrize("count", [10, 1_000])
def test_index_does_not_look_at_rules_of_other_values(count: int) -> None:
    pattern = {"data": {"amount": [{"numeric": [">", 0]}]}}
    index = Index(
        {f"r{number}": compile_pattern({"type": [f"type{number}"], **pattern}) for number in range(count)}
    )
    CountingStr.compared = 0

    matched = index.match(event(type=CountingStr("type7"), data={"amount": 1}))

    assert matched == ["r7"]
    assert CountingStr.compared <= 3


def test_index_files_overlapping_ranges() -> None:
    bands = {
        f"{low}-{low + 30}": compile_pattern({"data": {"t": [{"numeric": [">=", low, "<", low + 30]}]}})
        for low in range(0, 100, 10)
    }
    index = Index({**bands, "cold": compile_pattern({"data": {"t": [{"numeric": ["<", 0]}]}})})

    assert index.match(event(data={"t": 45})) == ["20-50", "30-60", "40-70"]
    assert index.match(event(data={"t": -1})) == ["cold"]
    assert index.match(event(data={"t": 120})) == []
    assert index.match(event(data={"t": "45"})) == []


@pytest.mark.parametrize("value", [0, 1, 1.0, 2, 3, 4, 4.5, -7, 10**15])
def test_index_finds_ranges_at_their_ends(value: float) -> None:
    bounds = [[op, number] for op in ("=", "<", "<=", ">", ">=") for number in range(5)]
    bounds += [[low, 1, high, 4] for low in (">", ">=") for high in ("<", "<=")]
    rules = {str(one): compile_pattern({"data": {"x": [{"numeric": one}]}}) for one in bounds}
    asked = event(data={"x": value})

    assert Index(rules).match(asked) == [name for name, rule in rules.items() if rule.matches(asked)]
