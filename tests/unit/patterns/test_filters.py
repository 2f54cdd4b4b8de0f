"""The filter dialects of the CloudEvents Subscriptions API."""

from __future__ import annotations

from typing import Any

import pytest

from tidemill.errors import EventRejected
from tidemill.events.event import Event
from tidemill.patterns import PatternError, compile_filters

EVENT = Event(
    id="1",
    source="/shop/eu",
    type="com.example.order.created",
    subject="order/7",
    extensions={"region": "eu", "priority": 5, "express": True},
)
HOLDS = {"exact": {"region": "eu"}}
FAILS = {"exact": {"region": "us"}}


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ([], True),
        ([HOLDS], True),
        ([HOLDS, FAILS], False),
        ([{"exact": {"type": "com.example.order.created", "subject": "order/7"}}], True),
        ([{"exact": {"type": "com.example.order.created", "subject": "order/8"}}], False),
        ([{"exact": {"type": "COM.EXAMPLE.ORDER.CREATED"}}], False),
        ([{"exact": {"specversion": "1.0"}}], True),
        ([{"exact": {"priority": "5"}}], True),
        ([{"exact": {"express": "true"}}], True),
        ([{"exact": {"express": "True"}}], False),
        ([{"exact": {"time": "2024-01-01T00:00:00Z"}}], False),
        ([{"exact": {"data": "x"}}], False),
        ([{"prefix": {"type": "com.example."}}], True),
        ([{"prefix": {"type": "com.example.", "source": "/bank"}}], False),
        ([{"prefix": {"priority": "5"}}], True),
        ([{"suffix": {"type": ".created"}}], True),
        ([{"suffix": {"missing": "d"}}], False),
        ([{"not": {"exact": {"missing": "x"}}}], True),
        ([{"not": {"not": HOLDS}}], True),
        ([{"any": [FAILS, HOLDS]}], True),
        ([{"any": [FAILS, FAILS]}], False),
        ([{"all": [HOLDS, {"any": [FAILS, {"not": FAILS}]}]}], True),
        ([{"all": [HOLDS, {"not": HOLDS}]}], False),
    ],
)
def test_filters_match_by_attributes(filters: Any, expected: bool) -> None:
    assert compile_filters(filters).matches(EVENT) is expected


@pytest.mark.parametrize("nothing", [{}, {"all": []}, {"any": []}, {"exact": {}}, {"not": {}}, {"all": [{}]}])
def test_filter_that_states_nothing_is_no_filter(nothing: Any) -> None:
    assert compile_filters([nothing]).matches(EVENT)
    assert compile_filters([{"any": [nothing, HOLDS]}]).matches(EVENT)
    assert not compile_filters([{"any": [nothing, FAILS]}]).matches(EVENT)
    assert not compile_filters([{"all": [nothing, FAILS]}]).matches(EVENT)
    assert compile_filters([{"not": nothing}]).matches(EVENT)


@pytest.mark.parametrize(
    ("filters", "pointer", "words"),
    [
        ("exact", "", "list of filter objects"),
        ([1], "/0", "must be an object"),
        ([{"sql": "type = "}], "/0/sql", "column 8: a value was expected, not the end"),
        ([{"sql": 5}], "/0/sql", "non-empty string"),
        ([{"any": [{"not": {"sql": "NOSUCH(id)"}}]}], "/0/any/0/not/sql", "there is no function NOSUCH"),
        ([{"sql": "TRUE", "exact": {"id": "1"}}], "/0", "one dialect"),
        ([{"exact": {"type": "a"}, "prefix": {"type": "a"}}], "/0", "one dialect"),
        ([{"exact": {"type": 5}}], "/0/exact/type", "non-empty string"),
        ([{"exact": {"type": ""}}], "/0/exact/type", "non-empty string"),
        ([{"prefix": {"": "a"}}], "/0/prefix", "attribute name"),
        ([{"suffix": ["type"]}], "/0/suffix", "takes an object"),
        ([{"exact": None}], "/0/exact", "takes an object"),
        ([{"all": {"exact": {"type": "a"}}}], "/0/all", "list of filter objects"),
        ([{"any": [{"all": [{"regex": {}}]}]}], "/0/any/0/all/0/regex", "dialect 'regex' is not supported"),
        ([{"not": [{"exact": {"type": "a"}}]}], "/0/not", "must be an object"),
        ([{"exact": {"a/b": 1}}], "/0/exact/a~1b", "non-empty string"),
    ],
)
def test_filters_are_refused_with_the_place(filters: Any, pointer: str, words: str) -> None:
    with pytest.raises(PatternError) as refused:
        compile_filters(filters)

    assert refused.value.pointer == pointer
    assert words in refused.value.message


def test_filters_report_every_problem_at_once() -> None:
    with pytest.raises(PatternError) as refused:
        compile_filters([{"exact": {"type": 1}}, {"sql": ""}, HOLDS, 7])

    assert [pointer for pointer, _ in refused.value.problems] == ["/0/exact/type", "/1/sql", "/3"]


def nested(depth: int) -> Any:
    written: Any = HOLDS
    for _ in range(depth - 1):
        written = {"not": written}
    return [written]


def test_filters_nest_up_to_the_limit() -> None:
    assert compile_filters(nested(31)).matches(EVENT)
    assert not compile_filters(nested(32)).matches(EVENT)
    with pytest.raises(PatternError, match="more than 32 deep"):
        compile_filters(nested(33))
    with pytest.raises(PatternError, match="more than 32 deep"):
        compile_filters(nested(100_000))


def test_filters_state_up_to_a_thousand_values() -> None:
    def stating(count: int) -> Any:
        return [{"any": [{"exact": {"region": f"r{number}"}} for number in range(count - 1)] + [HOLDS]}]

    assert compile_filters(stating(1_000)).matches(EVENT)
    with pytest.raises(PatternError, match="states 1001 values"):
        compile_filters(stating(1_001))


def test_filters_ask_json_to_be_a_cloudevent() -> None:
    rule = compile_filters([HOLDS])

    members = {"specversion": "1.0", "id": "1", "source": "/", "type": "t", "region": "eu"}

    assert rule.matches_json(members)
    with pytest.raises(EventRejected):
        rule.matches_json({"region": "eu"})
