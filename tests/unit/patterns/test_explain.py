"""Why a rule matches or not, for people."""

from __future__ import annotations

from tidemill.events.event import Event
from tidemill.patterns import combine, compile_filters, compile_pattern, explain

EVENT = Event(
    id="1",
    source="/shop",
    type="order",
    data={"amount": 5, "items": [{"sku": "a"}, {"sku": "b"}], "ship.to": {"country": "DE"}},
)


def test_explain_tells_what_was_found_and_wanted() -> None:
    rule = combine(
        compile_filters([{"exact": {"type": "order"}}, {"not": {"prefix": {"source": "/shop"}}}]),
        compile_pattern(
            {"data": {"amount": [{"numeric": [">", 10]}], "items": {"sku": ["b", {"prefix": "c"}]}}}
        ),
    )

    findings = explain(rule, EVENT)

    assert [str(finding) for finding in findings] == [
        'yes: type is "order", wanted "order"',
        'no: source is "/shop", wanted not prefix "/shop"',
        "no: data.amount is 5, wanted numeric > 10",
        'yes: data.items.sku is "a" and "b", wanted "b" or prefix "c"',
    ]
    assert [finding.holds for finding in findings] == [True, False, False, True]


def test_explain_tells_of_what_is_not_there() -> None:
    rule = compile_pattern({"subject": ["x"], "data": {"none": {"here": [{"exists": False}]}}})

    assert [str(finding) for finding in explain(rule, EVENT)] == [
        'no: subject is not there, wanted "x"',
        "yes: data.none.here is not there, wanted exists: false",
    ]


def test_explain_finds_values_under_dotted_keys_and_in_arms() -> None:
    rule = compile_pattern({"$or": [{"data": {"ship": {"to": {"country": ["FR"]}}}}, {"type": ["x"]}]})

    assert [(finding.path, finding.found, finding.holds) for finding in explain(rule, EVENT)] == [
        ("data.ship.to.country", ("DE",), False),
        ("type", ("order",), False),
    ]


def test_explain_of_no_condition_is_empty() -> None:
    assert explain(compile_filters([]), EVENT) == []


def test_explain_shortens_long_values() -> None:
    event = Event(id="1", source="/", type="t" * 10_000)

    (finding,) = explain(compile_pattern({"type": ["x"]}), event)

    assert len(str(finding)) < 150
