"""Rules and the index against a naive matcher that follows the definitions and nothing else.

The naive matcher takes the event apart into fields (path, value, and which element of which array the value
lies in), writes a pattern without `$or` in every way its arms allow, and chooses, in the order of paths, one field,
or absence, for each condition; a field must lie in the same elements as those chosen before it, and absence holds
where no field of the path does.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidemill.events import json_format
from tidemill.events.event import Event
from tidemill.patterns import Index, PatternError, Rule, combine, compile_filters, compile_pattern, explain

# ── the naive matcher ─────────────────────────────────────────────────────────────────────────────────────

Element = dict[object, int]
Way = dict[str, list[Any]]
Field = tuple[str, Any, Element]


def fields_of(value: Any, path: str, inside: Element) -> Iterator[Field]:
    if isinstance(value, dict):
        for key, below in value.items():
            yield from fields_of(below, f"{path}.{key}" if path else key, inside)
    elif isinstance(value, list):
        array = object()
        for number, element in enumerate(value):
            divides = isinstance(element, dict | list)
            yield from fields_of(element, path, {**inside, array: number} if divides else inside)
    else:
        yield path, value, inside


def without_or(pattern: dict[str, Any], path: str, ways: list[Way]) -> list[Way]:
    for key, value in pattern.items():
        at = f"{path}.{key}" if path else key
        if key == "$or":
            ways = [way for arm in value for way in without_or(arm, path, [dict(way) for way in ways])]
        elif isinstance(value, dict):
            ways = without_or(value, at, ways)
        else:
            ways = [{**way, at: value} for way in ways]
    return ways


def naive_pattern(pattern: dict[str, Any], event: dict[str, Any]) -> bool:
    fields = list(fields_of(event, "", {}))
    return any(naive_way(sorted(way.items()), fields, {}) for way in without_or(pattern, "", [{}]))


def naive_way(way: list[tuple[str, list[Any]]], fields: list[Field], chosen: Element) -> bool:
    if not way:
        return True
    (path, wanted), *rest = way
    near = [
        (value, inside)
        for at, value, inside in fields
        if at == path and all(chosen.get(array, number) == number for array, number in inside.items())
    ]
    if not near and {"exists": False} in wanted and naive_way(rest, fields, chosen):
        return True
    return any(
        naive_way(rest, fields, {**chosen, **inside})
        for value, inside in near
        if any(naive_value(one, value) for one in wanted)
    )


def naive_value(wanted: Any, value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    match wanted:
        case {"prefix": prefix}:
            return isinstance(value, str) and value[: len(prefix)] == prefix
        case {"suffix": suffix}:
            return isinstance(value, str) and value.endswith(suffix)
        case {"exists": exists}:
            return bool(exists)
        case {"numeric": [op, bound]}:
            return number and naive_compare(op, value, bound)
        case {"numeric": [op, bound, other_op, other]}:
            return number and naive_compare(op, value, bound) and naive_compare(other_op, value, other)
        case {"anything-but": list(values)}:
            return not any(naive_value(one, value) for one in values)
        case {"anything-but": other}:
            return not naive_value(other, value)
        case _:
            return wanted == value and isinstance(wanted, bool) == isinstance(value, bool)


def naive_compare(op: str, value: float, bound: float) -> bool:
    return (value < bound and "<" in op) or (value > bound and ">" in op) or (value == bound and "=" in op)


def naive_filter(written: dict[str, Any], event: dict[str, Any]) -> bool:
    ((dialect, argument),) = written.items()
    match dialect:
        case "all":
            return all(naive_filter(one, event) for one in argument)
        case "any":
            return any(naive_filter(one, event) for one in argument)
        case "not":
            return not naive_filter(argument, event)
        case _:
            texts = {name: str(value) if value is not True else "true" for name, value in event.items()}
            return all(
                name in event
                and {
                    "exact": texts[name] == text,
                    "prefix": texts[name].startswith(text),
                    "suffix": texts[name].endswith(text),
                }[dialect]
                for name, text in argument.items()
            )


# ── rules and events that often meet ──────────────────────────────────────────────────────────────────────

TEXTS = st.sampled_from(["", "a", "ab", "abc", "b", "ba"])
NUMBERS = st.sampled_from([0, 1, 2, 1.0, 1.5, -1])
SCALARS = st.one_of(TEXTS, NUMBERS, st.sampled_from([True, False, None]))
NAMES = st.sampled_from(["x", "y", "z"])
DATA = st.recursive(
    SCALARS,
    lambda below: st.one_of(st.lists(below, max_size=3), st.dictionaries(NAMES, below, max_size=3)),
    max_leaves=10,
)
EVENTS = st.builds(
    Event,
    id=st.just("1"),
    source=st.sampled_from(["a", "ab"]),
    type=st.sampled_from(["a", "ab", "b"]),
    subject=st.sampled_from([None, "a", "ba"]),
    data=DATA,
    extensions=st.dictionaries(
        st.sampled_from(["exta", "extb"]), st.sampled_from(["a", "1", 1, True]), max_size=2
    ),
)
OPERATORS = st.one_of(
    st.builds(lambda text: {"prefix": text}, TEXTS),
    st.builds(lambda text: {"suffix": text}, TEXTS),
    st.builds(lambda exists: {"exists": exists}, st.booleans()),
    st.builds(lambda op, n: {"numeric": [op, n]}, st.sampled_from(["=", "<", "<=", ">", ">="]), NUMBERS),
    st.just({"numeric": [">=", 0, "<", 1.5]}),
    st.builds(lambda value: {"anything-but": value}, st.one_of(TEXTS, NUMBERS, st.just(["a", "b"]))),
    st.just({"anything-but": {"prefix": "a"}}),
)
LEAVES = st.lists(st.one_of(SCALARS, OPERATORS), min_size=1, max_size=3)


def objects(below: st.SearchStrategy[Any], names: st.SearchStrategy[str] = NAMES) -> st.SearchStrategy[Any]:
    plain = st.dictionaries(names, below, min_size=1, max_size=2)
    arms = st.lists(plain, min_size=2, max_size=2)
    return st.one_of(plain, plain, st.builds(lambda one, other: {**one, "$or": other}, plain, arms))


INNER = st.recursive(LEAVES, objects, max_leaves=4)
MEMBERS = st.sampled_from(["type", "source", "subject", "exta", "data", "data", "specversion"])
PATTERNS = objects(INNER, MEMBERS)
TESTS = st.dictionaries(
    st.sampled_from(["type", "source", "subject", "exta", "extb", "none"]),
    st.sampled_from(["a", "ab", "b", "1", "true"]),
    min_size=1,
    max_size=2,
)
FILTERS = st.recursive(
    st.builds(lambda dialect, tests: {dialect: tests}, st.sampled_from(["exact", "prefix", "suffix"]), TESTS),
    lambda below: st.one_of(
        st.builds(lambda some: {"all": some}, st.lists(below, min_size=1, max_size=3)),
        st.builds(lambda some: {"any": some}, st.lists(below, min_size=1, max_size=3)),
        st.builds(lambda one: {"not": one}, below),
    ),
    max_leaves=4,
)
RULES = st.tuples(
    st.one_of(st.none(), st.lists(FILTERS, max_size=2)), st.one_of(st.none(), PATTERNS, PATTERNS)
)


def rule_of(written: tuple[Any, Any]) -> Rule:
    filters, pattern = written
    parts = [] if filters is None else [compile_filters(filters)]
    return combine(*parts, *([] if pattern is None else [compile_pattern(pattern)]))


def naive(written: tuple[Any, Any], event: Event) -> bool:
    filters, pattern = written
    members = json_format.to_json(event)
    return all(naive_filter(one, members) for one in filters or []) and (
        pattern is None or naive_pattern(pattern, members)
    )


# ── properties ────────────────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=120, deadline=None)
@given(st.lists(RULES, max_size=12), st.lists(EVENTS, min_size=1, max_size=4))
def test_index_matches_as_the_naive_matcher(rules: list[Any], events: list[Event]) -> None:
    index = Index({str(number): rule_of(written) for number, written in enumerate(rules)})

    for event in events:
        expected = [str(number) for number, written in enumerate(rules) if naive(written, event)]
        assert index.match(event) == expected


@settings(max_examples=200, deadline=None)
@given(RULES, EVENTS)
def test_rule_matches_as_the_naive_matcher(written: Any, event: Event) -> None:
    rule = rule_of(written)

    assert rule.matches(event) is naive(written, event)
    if not written[0]:
        assert rule.matches_json(json_format.to_json(event)) is naive(written, event)


@settings(max_examples=100, deadline=None)
@given(PATTERNS, DATA.filter(lambda value: isinstance(value, dict)))
def test_pattern_matches_plain_json_as_the_naive_matcher(pattern: Any, value: Any) -> None:
    pattern = {"data": pattern}

    assert compile_pattern(pattern).matches_json({"data": value}) is naive_pattern(pattern, {"data": value})


@settings(max_examples=40, deadline=None)
@given(st.lists(RULES, min_size=6, max_size=6), EVENTS)
def test_index_agrees_when_many_rules_share_their_values(rules: list[Any], event: Event) -> None:
    index = Index({f"{number}": rule_of(rules[number % 6]) for number in range(36)})

    expected = [f"{number}" for number in range(36) if naive(rules[number % 6], event)]
    assert index.match(event) == expected


@settings(max_examples=80, deadline=None)
@given(RULES, EVENTS)
def test_explain_of_conditions_without_choice_agrees_with_the_rule(written: Any, event: Event) -> None:
    rule = rule_of(written)

    findings = explain(rule, event)

    text = repr(written)
    if not any(word in text for word in ("any", "not", "$or")) and rule.matches(event):
        assert all(finding.holds for finding in findings)


OPERATOR_NAMES = [
    "prefix",
    "suffix",
    "equals-ignore-case",
    "wildcard",
    "numeric",
    "anything-but",
    "exists",
    "cidr",
]
ANY_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda below: st.one_of(
        st.lists(below, max_size=4),
        st.dictionaries(
            st.one_of(
                st.text(max_size=5),
                st.sampled_from([*OPERATOR_NAMES, "$or", "all", "any", "not", "exact", "type", "data"]),
            ),
            below,
            max_size=4,
        ),
    ),
    max_leaves=25,
)


@settings(max_examples=200, deadline=None)
@given(ANY_JSON, EVENTS)
def test_compiling_any_json_gives_a_rule_or_a_pattern_error(written: Any, event: Event) -> None:
    for compile_rule in (compile_pattern, compile_filters):
        try:
            rule = compile_rule(written)
        except PatternError:
            continue
        assert Index({"rule": rule}).match(event) == (["rule"] if rule.matches(event) else [])
        explain(rule, event)


@settings(max_examples=100, deadline=None)
@given(PATTERNS, ANY_JSON)
def test_matching_any_json_never_raises(pattern: Any, value: Any) -> None:
    event = Event(id="1", source="/", type="t", data=value)

    rule = compile_pattern({"data": pattern})

    assert rule.matches(event) is rule.matches_json({"data": value} if value is not None else {})


@pytest.mark.parametrize(
    "odd",
    [{1: 2}, {None: []}, {"a": [object()]}, {("a",): [1]}, [{2: {}}]],
    ids=["number", "none", "object", "tuple", "nested"],
)
def test_compiling_what_is_no_json_is_refused(odd: Any) -> None:
    for compile_rule in (compile_pattern, compile_filters):
        with pytest.raises(PatternError):
            compile_rule(odd)
