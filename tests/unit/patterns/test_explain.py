"""Why a rule matches or not, for people."""

from __future__ import annotations

from tidemill.events.event import Event
from tidemill.patterns import combine, compile_cel, compile_filters, compile_pattern, compile_sql, explain

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
    told = explain(compile_filters([]), EVENT)

    assert list(told) == []
    assert str(told) == "yes: every event"


def test_explain_shortens_long_values() -> None:
    event = Event(id="1", source="/", type="t" * 10_000)

    (finding,) = explain(compile_pattern({"type": ["x"]}), event)

    assert len(str(finding)) < 150


def test_explain_is_a_tree_that_holds_where_the_rule_matches() -> None:
    rule = combine(
        compile_filters([{"any": [{"exact": {"type": "x"}}, {"not": {"exact": {"source": "/bank"}}}]}]),
        compile_pattern({"$or": [{"data": {"amount": [7]}}, {"type": ["order"], "source": ["/shop"]}]}),
    )

    told = explain(rule, EVENT)

    assert told.holds is rule.matches(EVENT) is True
    assert str(told).splitlines() == [
        "yes: all of",
        "  yes: any of",
        '    no: type is "order", wanted "x"',
        "    yes: not",
        '      no: source is "/shop", wanted "/bank"',
        "  yes: any of",
        "    no: data.amount is 5, wanted 7",
        "    yes: all of",
        '      yes: type is "order", wanted "order"',
        '      yes: source is "/shop", wanted "/shop"',
    ]


def test_explain_as_json_has_conditions_and_values() -> None:
    told = explain(compile_filters([{"not": {"suffix": {"subject": ".csv"}}}]), EVENT).to_json()

    assert told == {
        "what": "not",
        "holds": True,
        "parts": [
            {"what": "condition", "holds": False, "path": "subject", "wanted": 'suffix ".csv"', "found": []}
        ],
    }


def test_explain_says_that_conditions_hold_on_different_elements() -> None:
    rule = compile_pattern({"data": {"items": {"sku": ["a"], "count": [2]}}})
    event = Event(id="1", source="/", type="t", data={"items": [{"sku": "a"}, {"count": 2}]})

    told = explain(rule, event)

    assert not told.holds
    assert [one.holds for one in told] == [True, True]
    assert str(told).splitlines()[0] == "no: all of (not together on one element of the array)"


def test_explain_of_cesql_shows_the_parts_with_their_values_and_errors() -> None:
    rule = compile_sql("type = 'order' AND (priority > 3 OR NOT EXISTS subject)")
    error = "missingAttribute: the event has no attribute priority"

    assert str(explain(rule, EVENT)).splitlines() == [
        f"no: type = 'order' AND (priority > 3 OR NOT EXISTS subject) ({error})",
        "  yes: type is \"order\", wanted type = 'order'",
        f"  no: (priority > 3 OR NOT EXISTS subject) ({error})",
        f"    no: priority is not there, wanted priority > 3 ({error})",
        "    yes: NOT EXISTS subject",
        "      no: subject is not there, wanted EXISTS subject",
    ]


def test_explain_of_cel_shows_the_error() -> None:
    told = explain(compile_cel("data.amount > 'x'"), EVENT)

    assert not told.holds
    assert told.note.startswith("error: No such overload")
    assert told.found == (EVENT.data,)
    assert explain(compile_cel("data.amount"), EVENT).note == "is 5, not true or false"
    assert explain(compile_cel("data.amount == 5"), EVENT).holds


def test_explain_of_cesql_that_is_no_boolean_says_what_it_is() -> None:
    assert explain(compile_sql("LENGTH(type)"), EVENT).note == "is 5"
