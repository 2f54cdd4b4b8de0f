"""What is proven of rules holds of every event; what cannot be proven is not claimed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidemill.events import json_format
from tidemill.events.event import Event
from tidemill.patterns.analysis import Analysis
from tidemill.patterns.cesql import compile_sql
from tidemill.patterns.condition import Equals, Other, Prefix
from tidemill.patterns.filters import compile_filters
from tidemill.patterns.pattern import compile_pattern
from tidemill.patterns.rule import Rule, combine


def filters(*written: Any) -> Rule:
    return compile_filters(list(written))


# ── never ──


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        (filters({"exact": {"type": "a"}}, {"exact": {"type": "b"}}), 'type can not be "a" and "b"'),
        (filters({"exact": {"type": "a"}}, {"not": {"prefix": {"type": "a"}}}), "type can not be"),
        (filters({"prefix": {"type": "a."}}, {"prefix": {"type": "b."}}), "type can not be"),
        (filters({"exact": {"data.n": "1"}}), 'no event has an attribute "data.n"'),
        (filters({"not": {"any": [{"exact": {"type": "a"}}, {"not": {"exact": {"type": "a"}}}]}}), "type"),
        (compile_pattern({"detail-type": ["a"]}), 'no event has an attribute "detail-type"'),
        (compile_pattern({"detail": {"n": [1]}}), 'no event has an attribute "detail.n"'),
        (compile_pattern({"source": {"name": ["a"]}}), 'no event has an attribute "source.name"'),
        (compile_pattern({"type": [1]}), "type can not be 1"),
        (compile_pattern({"type": [{"exists": False}]}), "type can not be exists: false"),
        (compile_pattern({"specversion": ["0.3"]}), "specversion can not be"),
        (compile_sql("type = 'a' AND type = 'b'"), "type can not be"),
        (
            combine(filters({"exact": {"type": "a"}}), compile_pattern({"type": ["b", "c"]})),
            "type can not be",
        ),
        (
            combine(compile_pattern({"n": [1]}), compile_pattern({"n": [{"numeric": [">", 1]}]})),
            "n can not be",
        ),
    ],
)
def test_rule_that_contradicts_itself_says_how(rule: Rule, reason: str) -> None:
    found = Analysis(rule).contradiction

    assert found is not None
    assert found.startswith(reason)


@pytest.mark.parametrize(
    "rule",
    [
        filters(),
        filters({"exact": {"type": "a"}}),
        filters({"any": [{"exact": {"type": "a"}}, {"exact": {"data.n": "1"}}]}),
        # an array may hold both
        combine(compile_pattern({"data": {"n": [1]}}), compile_pattern({"data": {"n": [2]}})),
        compile_pattern({"detail": {"n": [{"exists": False}]}}),
        compile_pattern({"subject": [{"exists": False}]}),
        compile_pattern({"type": [{"anything-but": ["a"]}]}),
    ],
)
def test_rule_that_may_hold_is_not_called_contradictory(rule: Rule) -> None:
    assert Analysis(rule).contradiction is None


# ── implies ──


@pytest.mark.parametrize(
    ("narrow", "wide"),
    [
        (filters({"exact": {"type": "a.b"}}), filters({"prefix": {"type": "a."}})),
        (filters({"exact": {"type": "a"}}), compile_pattern({"type": ["a", "b"]})),
        (filters({"exact": {"type": "a"}}), filters()),
        (filters({"exact": {"type": "a"}}), compile_pattern({"type": [{"exists": True}]})),
        (filters({"exact": {"type": "a"}}), filters({"not": {"exact": {"type": "b"}}})),
        (filters({"exact": {"type": "a", "source": "/x"}}), filters({"exact": {"source": "/x"}})),
        (compile_pattern({"data": {"n": [5]}}), compile_pattern({"data": {"n": [{"numeric": [">", 1]}]}})),
        (compile_pattern({"data": {"n": [1], "m": [2]}}), compile_pattern({"data": {"m": [2, 3]}})),
        (
            compile_pattern({"data": {"ip": [{"cidr": "10.1.0.0/16"}]}}),
            compile_pattern({"data": {"ip": [{"cidr": "10.0.0.0/8"}]}}),
        ),
        (
            compile_pattern({"$or": [{"type": ["a"]}, {"type": ["b"]}]}),
            compile_pattern({"type": ["a", "b", "c"]}),
        ),
    ],
)
def test_narrower_rule_implies_the_wider_one_and_not_the_other_way(narrow: Rule, wide: Rule) -> None:
    assert Analysis(narrow).implies(Analysis(wide))
    assert not Analysis(wide).implies(Analysis(narrow))


def test_conditions_that_arrays_may_keep_apart_imply_nothing() -> None:
    apart = combine(compile_pattern({"data": {"n": [1]}}), compile_pattern({"data": {"m": [2]}}))

    assert not Analysis(apart).implies(Analysis(compile_pattern({"data": {"n": [1], "m": [2]}})))
    # q is absent beside the chosen p, and there beside another
    beside = compile_pattern({"data": {"a": {"p": [1], "q": [{"exists": False}]}}})
    assert not Analysis(beside).implies(
        Analysis(compile_pattern({"data": {"a": {"q": [{"exists": False}]}}}))
    )


# ── what may match, what must ──


def test_facts_decide_what_may_and_what_must_match() -> None:
    ours = {"type": (Equals("dev.tidemill.run.succeeded.v1"),), "data.dag": (Equals("a"),)}
    posted = {"type": (Other((Prefix("dev.tidemill."),), "not reserved"),)}
    of_a = Analysis(compile_pattern({"type": [{"prefix": "dev.tidemill.run."}], "data": {"dag": ["a"]}}))
    with_result = Analysis(
        compile_pattern({"type": [{"prefix": "dev.tidemill.run."}], "data": {"dag": ["a"], "result": [1]}})
    )
    of_b = Analysis(compile_pattern({"data": {"dag": ["b"]}}))

    assert (of_a.may_match(ours), of_a.must_match(ours)) == (True, True)
    assert (with_result.may_match(ours), with_result.must_match(ours)) == (True, False)
    assert (of_b.may_match(ours), of_b.may_match(posted)) == (False, True)
    assert not of_a.may_match(posted)


def test_rule_of_too_many_cases_may_match_and_implies_nothing() -> None:
    two = {"any": [{"exact": {"a": "1"}}, {"exact": {"b": "1"}}]}
    much = Analysis(
        filters({"all": [{"any": [two["any"][0], {"exact": {f"x{n}": "1"}}]} for n in range(12)]})
    )

    assert much.contradiction is None
    assert much.may_match({"type": (Equals("a"),)})
    assert not much.implies(Analysis(filters(two)))


# ── every proof holds of events ──

_TEXTS = st.sampled_from(["a", "b", "ab", "ba", "aab"])
_ATTRIBUTE = st.sampled_from(["type", "source", "subject", "ext", "other"])
_LEAVES = st.dictionaries(_ATTRIBUTE, _TEXTS, min_size=1, max_size=2)
_FILTER: st.SearchStrategy[Any] = st.recursive(
    st.tuples(st.sampled_from(["exact", "prefix", "suffix"]), _LEAVES).map(lambda pair: dict([pair])),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"all": parts}),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"any": parts}),
        inner.map(lambda part: {"not": part}),
    ),
    max_leaves=5,
)
_OPERATOR = st.one_of(
    _TEXTS,
    st.sampled_from([1, 2, True, None]),
    _TEXTS.map(lambda text: {"prefix": text}),
    _TEXTS.map(lambda text: {"suffix": text}),
    _TEXTS.map(lambda text: {"anything-but": text}),
    _TEXTS.map(lambda text: {"anything-but": {"prefix": text}}),
    _TEXTS.map(lambda text: {"equals-ignore-case": text.upper()}),
    _TEXTS.map(lambda text: {"wildcard": f"{text}*"}),
    st.booleans().map(lambda there: {"exists": there}),
    st.sampled_from([{"numeric": [">", 1]}, {"numeric": ["<", 2]}, {"numeric": [">=", 0, "<=", 5]}]),
)
_OPERATORS = st.lists(_OPERATOR, min_size=1, max_size=2)
_DATA = st.dictionaries(st.sampled_from(["p", "q"]), _OPERATORS, min_size=1, max_size=2)
_PATTERN = st.dictionaries(_ATTRIBUTE, _OPERATORS, max_size=2).flatmap(
    lambda top: st.one_of(
        st.just(top) if top else st.nothing(),
        _DATA.map(lambda data: {**top, "data": {"a": data}}),
        _DATA.map(lambda data: {**top, "data": data}),
    )
)
_RULE = st.lists(
    st.one_of(st.lists(_FILTER, max_size=2).map(compile_filters), _PATTERN.map(compile_pattern)),
    min_size=1,
    max_size=2,
).map(lambda rules: combine(*rules))
_VALUE = st.one_of(_TEXTS, st.sampled_from([0, 1, 2, 3, True, None]))
_OBJECT = st.dictionaries(st.sampled_from(["p", "q"]), _VALUE, max_size=2)
_EVENT = st.fixed_dictionaries(
    {"type": _TEXTS, "source": _TEXTS},
    optional={
        "subject": _TEXTS,
        "ext": st.one_of(_TEXTS, st.sampled_from([1, 2, True])),
        "data": st.one_of(
            _OBJECT,
            st.lists(_OBJECT, max_size=3).map(lambda several: {"a": several}),
            _OBJECT.map(lambda one: {"a": one}),
        ),
    },
).map(lambda members: json_format.from_json({"specversion": "1.0", "id": "1", **members}))


@settings(max_examples=600, deadline=None)
@given(_RULE, _RULE, st.lists(_EVENT, min_size=1, max_size=20))
def test_what_is_proven_holds_of_events(one: Rule, other: Rule, events: list[Event]) -> None:
    first, second = Analysis(one), Analysis(other)
    impossible, implied = first.contradiction, first.implies(second)

    for event in events:
        matches = one.matches(event)
        facts = {"type": (Equals(event.type),), "source": (Equals(event.source),)}
        assert not (matches and impossible is not None)
        assert not (matches and implied and not other.matches(event))
        assert not (matches and not first.may_match(facts))
        assert matches or not first.must_match(facts)
