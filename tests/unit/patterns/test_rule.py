"""What every rule can do, whichever dialect it was written in."""

from __future__ import annotations

from tidemill.events.event import Event
from tidemill.patterns import combine, compile_filters, compile_pattern

EVENT = Event(id="1", source="/shop", type="order", data={"amount": 5})


def test_combined_rule_matches_what_all_parts_match() -> None:
    filters = compile_filters([{"exact": {"type": "order"}}])
    large = compile_pattern({"data": {"amount": [{"numeric": [">", 3]}]}})
    huge = compile_pattern({"data": {"amount": [{"numeric": [">", 9]}]}})

    assert combine(filters, large).matches(EVENT)
    assert not combine(filters, huge).matches(EVENT)
    assert combine(large) is large
    assert combine().matches(EVENT)


def test_combined_patterns_match_plain_json() -> None:
    rule = combine(compile_pattern({"a": [1]}), compile_pattern({"b": [2]}))

    assert rule.matches_json({"a": 1, "b": 2})
    assert not rule.matches_json({"a": 1})


def test_rule_gives_back_what_was_written() -> None:
    written = {"data": {"amount": [5]}}
    rule = compile_pattern(written)
    written["data"]["amount"].append(6)

    assert rule.to_json() == {"data": {"amount": [5]}}
    assert compile_filters([{"exact": {"type": "a"}}]).to_json() == [{"exact": {"type": "a"}}]
    assert combine(rule, rule).to_json() == [rule.to_json(), rule.to_json()]


def test_rules_are_equal_when_the_same_was_written() -> None:
    one = compile_pattern({"type": ["a"], "source": [1]})

    assert one == compile_pattern({"source": [1], "type": ["a"]})
    assert hash(one) == hash(compile_pattern({"source": [1], "type": ["a"]}))
    assert one != compile_pattern({"type": ["a"], "source": [True]})
    assert combine(one, one) != one
