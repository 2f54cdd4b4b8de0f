"""Subscriptions made by API, as they are at one position of the log."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.events.event import Event
from tidemill.events.lifecycle import subscription_changed
from tidemill.patterns.filters import compile_filters
from tidemill.patterns.pattern import compile_pattern
from tidemill.patterns.rule import combine
from tidemill.routing.subscribed import Subscribed
from tidemill.routing.trees import may_match_trees
from tidemill.storage.contract import MadeSubscription

TYPES = ["order.placed", "order.paid", "order.sent"]


def event(kind: str, source: str = "/shop") -> Event:
    return Event(id="1", source=source, type=kind)


def change(name: str, action: str, rule: object = None) -> Event:
    return subscription_changed(
        subscription=name, action=action, revision=f"{name}-{action}", rule=rule, by="test", at_us=0
    )


def made(name: str, **rule: object) -> MadeSubscription:
    return MadeSubscription(name, 1, orjson.dumps({"subscription": rule}))


def test_source_types_and_filters_must_all_hold() -> None:
    subscribed = Subscribed()
    subscribed.load([made("a", source="/shop", types=TYPES[:2], filters=[{"suffix": {"type": "paid"}}])])

    assert subscribed.match(event("order.paid")) == ["a"]
    assert subscribed.match(event("order.placed")) == []
    assert subscribed.match(event("order.sent")) == []
    assert subscribed.match(event("order.paid", "/other")) == []


def test_rule_that_is_not_understood_is_left_out_and_told_of(caplog: pytest.LogCaptureFixture) -> None:
    subscribed = Subscribed()
    subscribed.load([made("strange", filters=[{"tomorrow": {"type": "x"}}]), made("plain", types=TYPES)])

    assert subscribed.match(event("order.paid")) == ["plain"]
    assert [record.message for record in caplog.records] == ["subscription.unusable"]


@given(
    st.lists(
        st.tuples(
            st.sampled_from([f"s{number}" for number in range(60)]),
            st.none() | st.lists(st.sampled_from(TYPES), min_size=1, max_size=2),
        ),
        max_size=150,
    )
)
def test_following_changes_comes_to_what_a_dictionary_of_rules_says(
    changes: list[tuple[str, list[str] | None]],
) -> None:
    subscribed, model = Subscribed(), dict[str, list[str]]()
    for name, types in changes:
        if types is None:
            model.pop(name, None)
            assert subscribed.follow(change(name, "deleted")) == name
        else:
            model[name] = types
            assert subscribed.follow(change(name, "updated", {"types": types})) is None

    for kind in TYPES:
        assert sorted(subscribed.match(event(kind))) == sorted(
            n for n, types in model.items() if kind in types
        )


@pytest.mark.parametrize(
    ("filters", "may"),
    [
        ([], True),
        ([{"exact": {"type": "dev.tidemill.tree.completed.v1"}}], True),
        ([{"prefix": {"type": "dev.tidemill."}}], True),
        ([{"suffix": {"type": ".v1"}}], True),
        ([{"exact": {"subject": "x"}}], True),
        ([{"not": {"exact": {"type": "order.placed"}}}], True),
        ([{"any": [{"exact": {"type": "order.placed"}}, {"prefix": {"type": "dev."}}]}], True),
        ([{"exact": {"type": "order.placed"}}], False),
        ([{"exact": {"source": "/shop"}}], False),
        ([{"prefix": {"type": "dev.tidemill.run."}}], False),
        ([{"all": [{"exact": {"subject": "x"}}, {"exact": {"type": "order.placed"}}]}], False),
        ([{"any": [{"exact": {"type": "a"}}, {"exact": {"type": "b"}}]}], False),
        ([{"exact": {"subject": "x"}}, {"exact": {"type": "a"}}], False),
    ],
)
def test_filters_that_rule_trees_out_do_not_make_them_followed(filters: list[object], may: bool) -> None:
    assert may_match_trees(compile_filters(filters)) is may


@pytest.mark.parametrize(
    ("pattern", "may"),
    [
        ({"type": ["dev.tidemill.tree.completed.v1"]}, True),
        ({"type": [{"prefix": "dev."}], "data": {"runs": {"failed": [{"numeric": [">", 0]}]}}}, True),
        ({"data": {"n": [1]}}, True),
        ({"type": ["order.placed"]}, False),
        ({"type": [{"prefix": "order."}], "data": {"n": [1]}}, False),
        ({"source": ["/shop"]}, False),
    ],
)
def test_patterns_that_rule_trees_out_do_not_make_them_followed(pattern: object, may: bool) -> None:
    rule = compile_pattern(pattern)

    assert may_match_trees(rule) is may
    assert may_match_trees(combine(compile_filters([]), rule)) is may
