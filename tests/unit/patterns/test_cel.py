"""CEL as a dialect: what it sees, what an error is, what is refused, how much it may do."""

from __future__ import annotations

from typing import Any

import pytest

from tidemill.events.event import Event
from tidemill.patterns import Index, PatternError, cel, combine, compile_cel, compile_filters, explain
from tidemill.patterns.cel import MAX_ROUNDS, ValueFailed, compile_value

EVENT = Event(
    id="1",
    source="/shop",
    type="order",
    time="2026-11-24T12:30:00Z",
    data={"amount": 5.5, "items": [{"sku": "a", "count": 1}, {"sku": "b", "count": 3}], "note": None},
    extensions={"region": "eu", "priority": 3, "express": True},
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("true", True),
        ("type == 'order' && source.startsWith('/shop')", True),
        ("event.type == 'order' && event['id'] == '1'", True),
        ("data.amount > 5 && data.amount < 6.0", True),
        ("priority == 3 && express && region in ['eu', 'us']", True),
        ("data.items.exists(i, i.sku == 'b' && i.count > 2)", True),
        ("data.items.all(i, i.count > 1)", False),
        ("data.items.filter(i, i.count > 1).size() == 1", True),
        ("data.items.map(i, i.count) == [1, 3]", True),
        ("has(data.amount) && !has(data.missing)", True),
        ("has(event.subject)", False),
        ("data.note == null", True),
        ("timestamp(time).getHours() == 12", True),
        ("timestamp(time) < timestamp('2027-01-01T00:00:00Z')", True),
        ("region.matches('^e[a-z]$')", True),
        ("type == 'order' ? priority > 2 : false", True),
        # not true or false
        ("data.amount", False),
        ("'true'", False),
        ("1", False),
        # errors of evaluation
        ("subject == 'x'", False),
        ("data.missing > 1", False),
        ("data.amount > 'a'", False),
        ("1 / 0 == 1", False),
        ("9223372036854775807 + 1 > 0", False),
        ("region.matches('(')", False),
        # an error that does not matter is none
        ("subject == 'x' || type == 'order'", True),
        ("type == 'x' && subject == 'x'", False),
    ],
)
def test_expression_is_true_or_no_match(text: str, expected: bool) -> None:
    rule = compile_cel(text)

    assert rule.matches(EVENT) is expected
    assert Index({str(n): rule for n in range(10)}).match(EVENT) == [str(n) for n in range(10) if expected]
    assert explain(rule, EVENT).holds is expected
    assert combine(rule, compile_filters([])).matches(EVENT) is expected


def test_expression_sees_bytes_as_data_base64() -> None:
    event = Event(id="1", source="/", type="t", data=b"\x00")

    assert compile_cel("data_base64 == 'AA==' && event.data_base64 == 'AA=='").matches(event)
    assert not compile_cel("has(event.data)").matches(event)


def test_expression_sees_any_json_object() -> None:
    rule = compile_cel("a.b == 1 && event.a.b == 1")

    assert rule.matches_json({"a": {"b": 1}})
    assert not rule.matches_json({"a": {"b": 2}})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "non-empty string"),
        (5, "non-empty string"),
        ("1 +", "line 1, column 4: "),
        ("true &&\n  )", "line 2, column 3: "),
        ("'abc", "line 1, column 1: "),
        ("nosuch(1)", "there is no function nosuch"),
        ("type.nosuch()", "there is no function nosuch"),
        ("[" * 33 + "]" * 33 + ".size() == 1", "nested more than 32 deep"),
        ("(" * 5_000 + "1" + ")" * 5_000, "bytes long"),
        ("(" * 2_000 + "1" + ")" * 2_000, ""),
        ("type == '" + "x" * 8 * 1024 + "'", "more than 8192"),
    ],
)
def test_expression_is_refused_with_the_place(text: Any, words: str) -> None:
    with pytest.raises(PatternError) as refused:
        compile_cel(text)

    assert words in str(refused.value)
    assert len(str(refused.value)) < 1_000


@pytest.mark.parametrize(
    ("text", "values", "expected"),
    [
        ("data.all(x, x >= 0)", MAX_ROUNDS, True),
        ("data.all(x, x >= 0)", MAX_ROUNDS + 1, False),
        ("data.all(x, data.all(y, x + y >= 0))", 100, True),
        ("data.all(x, data.all(y, x + y >= 0))", 101, False),
        ("data.all(x, [1].all(y, y > 0)) && data.all(x, data.exists(y, y == x))", 101, False),
        ("data.all(x, x >= 0) && data.all(y, y >= 0)", MAX_ROUNDS, True),
        ("data.size() > 0 && '.all(.all(' != ''", MAX_ROUNDS + 1, True),
        ("data.size() > 0 // .all(x, y.all(", MAX_ROUNDS + 1, True),
    ],
)
def test_macros_go_round_a_bounded_number_of_times(text: str, values: int, expected: bool) -> None:
    event = Event(id="1", source="/", type="t", data=list(range(values)))
    rule = compile_cel(text)

    assert rule.matches(event) is expected
    if not expected:
        assert "more than 10000 times" in explain(rule, event).note


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("data.l.map(x, data.s + 'b').size() > 0", {"s": "a" * 900_000, "l": [1] * 500}),
        ("data.l.exists(x, (data.s + 'b').size() == 1)", {"s": "a" * 900_000, "l": [1] * 5_000}),
        ("+".join(["data.s"] * 100) + " != ''", {"s": "a" * 900_000}),
        ("+".join(["data.l"] * 100) + " != []", {"l": [1] * 100_000}),
        ("[data.s]" + ".map(a, a + a)" * 40 + ".size() > 0", {"s": "a"}),
        ("[data.l]" + ".map(a, a + a)" * 40 + ".size() > 0", {"l": [1, 2]}),
        ("[1]" + ".map(x, [x, x])" * 40 + " == [1]" + ".map(x, [x, x])" * 40, {}),
        ("[1]" + ".map(x, {'a': x, 'b': x})" * 40 + " == [1]", {}),
        ("data.l.map(x, data).size() > 0", {"l": [1] * 1_000}),
        ("data.l.filter(x, x.s != '').size() > 0", {"l": [{"s": "a" * 8_000}] * 100 + [{"s": "b"}] * 1_000}),
        ("data.l.map(x, data.s).size() > 0", {"s": "a" * 900_000, "l": [1] * 1_000}),
        (f"[{', '.join(['data.s'] * 1_000)}].size() > 0", {"s": "a" * 900_000}),
        ("data.l.exists(x, data.s.contains(x))", {"s": "a" * 900_000, "l": ["a" * 100 + "b"] * 1_000}),
        ("data.l.exists(x, x.matches(data.p))", {"p": "(\\w{1,100}){1,5}", "l": ["a"] * 50}),
        (r"data.l.exists(x, x.matches( '\\w{1,50}x'))", {"l": ["a"] * 50}),
        (" || ".join(["data.l.exists(x, x > 1)"] * 100), {"l": [1] * 9_000}),
    ],
)
def test_expression_that_could_make_or_read_too_much_is_no_match(text: str, data: Any) -> None:
    event = Event(id="1", source="/", type="t", data=data)
    rule = compile_cel(text)

    assert not rule.matches(event)
    assert "too much for an event as large as this one" in explain(rule, event).note


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("data.a + data.b == 'xy'", {"a": "x", "b": "y", "s": "a" * 900_000}),
        ("data.a + ' ' + data.a + ' ' + data.a != ''", {"a": "x" * 900_000}),
        (
            "data.l.exists(x, x.price + x.tax > 100 && x.name == 'b')",
            {"l": [{"price": 99, "tax": 2, "name": "b"}] * 2_000},
        ),
        ("data.l.map(x, x.first + ' ' + x.last).size() == 100", {"l": [{"first": "a", "last": "b"}] * 100}),
        ("data.l.filter(x, x.price > 10).size() == 500", {"l": [{"price": 11}] * 500}),
        ("data.l.exists(x, x in ['a', 'b', 'c'])", {"l": ["c"] * 500}),
        (f"data.t in [{', '.join(repr(str(n)) for n in range(900))}]", {"s": "a" * 900_000, "t": "7"}),
        ("data.l.map(x, x.name).size() == 400", {"s": "a" * 500_000, "l": [{"name": "b"}] * 400}),
        ("data.l.exists(x, x == data.s)", {"l": ["c", "a" * 900_000], "s": "a" * 900_000}),
        ("data.l.exists(x, x.matches('^c+$'))", {"l": ["c"] * 1_000}),
        (r"data.l.exists(x, x.matches( '^\\w+$'))", {"l": ["c"] * 100}),
        ("data.s == data.t && data.s.size() > 1", {"s": "a" * 400_000, "t": "a" * 400_000}),
    ],
)
def test_expression_takes_what_people_ask_of_large_events(text: str, data: Any) -> None:
    assert compile_cel(text).matches(Event(id="1", source="/", type="t", data=data))


def test_value_of_an_expression_is_given_or_fails() -> None:
    value_of, variables = compile_value("a.b + 1")

    assert variables == ("a",)
    assert value_of({"a": {"b": 2}}) == 3
    with pytest.raises(ValueFailed):
        value_of({})


class PanicException(BaseException):
    pass


def test_fault_of_the_library_is_an_error_of_evaluation() -> None:
    def panic(variables: dict[str, Any]) -> bool:
        raise PanicException

    program = cel._Program("true", panic, (), nesting=0, listed=0)

    with pytest.raises(ValueFailed, match="the library failed"):
        cel._evaluate(program, {})


def test_rules_are_equal_when_the_same_was_written() -> None:
    assert compile_cel("true") == compile_cel("true")
    assert compile_cel("true") != compile_cel("!false")
    assert compile_cel("true").to_json() == "true"
