"""CESQL: grammar, casts, errors, functions, and what is refused. A table of the language; the kit's cases beside it."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidemill.events.event import Event
from tidemill.patterns import ParseError, PatternError, compile_filters, compile_sql, evaluate_sql
from tidemill.patterns.cesql.functions import FUNCTIONS
from tidemill.patterns.cesql.lower import lower
from tidemill.patterns.cesql.parse import parse
from tidemill.patterns.expression import Attribute, Every, Not, Some

EVENT = Event(
    id="1",
    source="/shop",
    type="order",
    subject="a_b%c",
    time="2026-01-01T00:00:00Z",
    extensions={"five": 5, "text": "5", "yes": True, "word": "Straße", "odd": "NOT", "7up": "x"},
)


def outcome(text: str) -> tuple[Any, set[str]]:
    value, errors = evaluate_sql(text, EVENT)
    return value, {str(error.kind) for error in errors}


@pytest.mark.parametrize(
    ("text", "value", "errors"),
    [
        # literals and names
        ("-2147483648", -2147483648, set()),
        ("+7", 7, set()),
        ("4-1", 3, set()),
        ("'it\\'s'", "it's", set()),
        ('"say \\"x\\""', 'say "x"', set()),
        (r"'a\\b'", r"a\\b", set()),
        ("7up", "x", set()),
        ("specversion", "1.0", set()),
        ("data", False, {"missingAttribute"}),
        ("five", 5, set()),
        ("yes", True, set()),
        # precedence: from left to right where operators bind alike
        ("1 + 2 * 3 - 4 / 2", 5, set()),
        ("10 - 3 - 2", 5, set()),
        ("TRUE OR TRUE AND FALSE", False, set()),
        ("FALSE AND TRUE OR TRUE", True, set()),
        ("TRUE XOR TRUE XOR TRUE", True, set()),
        ("NOT FALSE AND FALSE", False, set()),
        ("NOT (TRUE AND FALSE)", True, set()),
        ("- - 5", 5, set()),
        ("1 < 2 = TRUE", True, set()),
        ("NOT EXISTS subject OR EXISTS nothing", False, set()),
        ("'ab' LIKE 'a%' AND 1 IN (1)", True, set()),
        ("'a' NOT LIKE 'b%' IN ('true')", True, set()),
        # comparison: the right operand's type decides
        ("text = 5", True, set()),
        ("five = '5'", True, set()),
        ("yes = 'true'", True, set()),
        ("yes = 'TRUE'", False, set()),
        ("'TRUE' = yes", True, set()),
        ("5 = TRUE", True, set()),
        ("'x' = 5", False, {"cast"}),
        ("'x' != 5", False, {"cast"}),
        ("'05' = 5", True, set()),
        ("'5.0' = 5", False, {"cast"}),
        ("'b' > 'a'", False, {"cast"}),
        # errors give the zero value of what found them
        ("nothing = ''", False, {"missingAttribute"}),
        ("NOT nothing", False, {"missingAttribute"}),
        ("nothing != 'a' OR TRUE", True, {"missingAttribute"}),
        ("TRUE OR nothing = 'a'", True, set()),
        ("FALSE AND nothing", False, set()),
        ("TRUE AND nothing", False, {"missingAttribute"}),
        ("nothing + 1", 0, {"missingAttribute"}),
        ("nothing LIKE '%'", False, {"missingAttribute"}),
        ("nothing NOT LIKE 'a'", False, {"missingAttribute"}),
        ("nothing NOT IN ('a')", False, {"missingAttribute"}),
        ("'a' IN ('a', nothing)", False, {"missingAttribute"}),
        ("LENGTH(nothing)", 0, {"missingAttribute"}),
        ("CONCAT('a', nothing)", "", {"missingAttribute"}),
        ("'a' + 1", 0, {"cast"}),
        ("NOT 'a'", False, {"cast"}),
        ("'a' AND TRUE", False, {"cast"}),
        ("1 IN (1, 'x')", False, {"cast"}),
        ("1 / 0", 0, {"math"}),
        ("1 % 0", 0, {"math"}),
        ("2147483647 + 1", 0, {"math"}),
        ("-2147483648 / -1", 0, {"math"}),
        ("-(-2147483648)", 0, {"math"}),
        ("NOSUCH(1)", False, {"missingFunction"}),
        ("LENGTH()", False, {"missingFunction"}),
        ("NOSUCH(nothing)", False, {"missingFunction"}),
        # arithmetic
        ("-7 / 2", -3, set()),
        ("7 / -2", -3, set()),
        ("-7 % 2", -1, set()),
        ("7 % -2", 1, set()),
        ("TRUE + TRUE", 2, set()),
        # functions
        ("length('é')", 1, set()),
        ("CONCAT()", "", set()),
        ("CONCAT('a', 1, TRUE)", "a1true", set()),
        ("CONCAT_WS('-', 1, 2)", "1-2", set()),
        ("LOWER('AÄ') = 'aä'", True, set()),
        ("UPPER('ß')", "SS", set()),
        ("TRIM('\u00a0\ta\u2003')", "a", set()),
        ("TRIM('\x1fa')", "\x1fa", set()),
        ("LEFT('abc', 0)", "", set()),
        ("RIGHT('abc', 0)", "", set()),
        ("RIGHT('abc', 2)", "bc", set()),
        ("RIGHT('abc', 9)", "abc", set()),
        ("RIGHT('abc', -1)", "abc", {"functionEvaluation"}),
        ("SUBSTRING('abc', -3)", "abc", set()),
        ("SUBSTRING('abc', 2, 99)", "bc", set()),
        ("SUBSTRING('abc', 2, -1)", "", {"functionEvaluation"}),
        ("SUBSTRING('abc', 4)", "", {"functionEvaluation"}),
        ("SUBSTRING('', 0)", "", set()),
        ("ABS(-2147483648)", 2147483647, {"math"}),
        ("INT('x')", 0, {"cast"}),
        ("INT('2147483648')", 0, {"cast"}),
        ("INT(TRUE)", 1, set()),
        ("STRING(FALSE)", "false", set()),
        ("STRING(-5)", "-5", set()),
        ("BOOL('FaLsE')", False, set()),
        ("IS_INT('x') OR IS_BOOL('true')", True, set()),
        # LIKE
        ("subject LIKE 'a\\_b\\%c'", True, set()),
        ("subject LIKE 'a_b_c'", True, set()),
        ("subject LIKE 'a%\\%c'", True, set()),
        ("subject LIKE 'A%'", False, set()),
        ("five LIKE '_'", True, set()),
        ("'' LIKE '%'", True, set()),
        ("'' LIKE '_'", False, set()),
        ("'a\nb' LIKE 'a_b'", True, set()),
        ("'abab' LIKE '%_b%b'", True, set()),
        ("'xaab' LIKE '_%a_'", True, set()),
    ],
)
def test_expression_has_value_and_errors(text: str, value: Any, errors: set[str]) -> None:
    found = outcome(text)

    assert found == (value, errors)
    assert type(found[0]) is type(value)
    assert compile_sql(text, strict=False).matches(EVENT) is (value is True and not errors)


@pytest.mark.parametrize(
    ("text", "column", "words"),
    [
        ("", None, "non-empty string"),
        ("  ", None, "non-empty string"),
        ("ABC(", 5, "a value was expected, not the end"),
        ("(1", 3, "')' was expected"),
        ("1)", 2, "')' was not expected"),
        ("1 2", 3, "'2' was not expected"),
        ("4 -1 2", 6, "'2' was not expected"),
        ("'abc", 1, "this string does not end"),
        ("id = 'it's'", 11, "this string does not end"),
        ("Subject", 1, "no name of an attribute"),
        ("a_b = 1", 1, "no name of an attribute"),
        ("EXISTS true", 8, "no name of an attribute"),
        ("EXISTS 'a'", 8, "no name of an attribute"),
        ("id LIKE 5", 9, "LIKE takes a string"),
        ("id LIKE subject", 9, "LIKE takes a string"),
        ("id IN ()", 8, "at least one value"),
        ("id IN 'a'", 7, "a list in parentheses"),
        ("1abc(2)", 1, "no name of a function"),
        ("2147483648", 1, "32 bits"),
        ("-2147483649", 1, "32 bits"),
        ("id ? 1", 4, "'?' has no meaning"),
        ("id == 'a'", 5, "a value was expected, not '='"),
        ("NOT", 4, "a value was expected"),
        ("AND TRUE", 1, "a value was expected"),
    ],
)
def test_expression_is_refused_with_the_column(text: str, column: int | None, words: str) -> None:
    with pytest.raises(PatternError) as refused:
        compile_sql(text)

    assert words in refused.value.message
    if column is not None:
        assert refused.value.message.startswith(f"column {column}: ")
        with pytest.raises(ParseError):
            evaluate_sql(text, EVENT)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("TRUE AND NOSUCH(id)", "column 10: there is no function NOSUCH; there are LENGTH, CONCAT"),
        ("LEFT(id)", "column 1: LEFT does not take 1 argument"),
        ("SUBSTRING(id, 1, 2, 3)", "SUBSTRING does not take 4 arguments"),
    ],
)
def test_rule_that_calls_what_is_not_there_is_refused(text: str, words: str) -> None:
    with pytest.raises(PatternError, match="column") as refused:
        compile_sql(text)

    assert words in refused.value.message


def test_expression_nests_up_to_the_limit() -> None:
    assert compile_sql("(" * 31 + "TRUE" + ")" * 31).matches(EVENT)
    for text in ("(" * 32 + "TRUE" + ")" * 32, "NOT " * 33 + "TRUE", "TRUE" + " AND TRUE OR TRUE" * 20):
        with pytest.raises(PatternError, match="nested more than 32 deep"):
            compile_sql(text)
    assert compile_sql("TRUE" + " AND TRUE" * 800).matches(EVENT)
    assert evaluate_sql("0" + "+1" * 900, EVENT) == (900, ())


def test_expression_has_limits_of_length_and_operands() -> None:
    padding = 8 * 1024 - len("id = ''")

    assert not compile_sql(f"id = '{'x' * padding}'").matches(EVENT)
    with pytest.raises(PatternError, match="is 8193 bytes long, more than 8192"):
        compile_sql(f"id = '{'x' * (padding + 1)}'")
    with pytest.raises(PatternError, match="states 1001 values"):
        compile_sql("1" + "+1" * 1_000)


@pytest.mark.parametrize("pattern", ["%a%a%a%a%b", "%a_a%_b", "_%_%_%_%b", "%" + "_a" * 500 + "%"])
def test_like_takes_time_proportional_to_the_text(pattern: str) -> None:
    rule = compile_sql(f"text LIKE '{pattern}'")

    def seconds(length: int) -> float:
        event = Event(id="1", source="/", type="t", extensions={"text": "a" * length + "c"})
        started = time.process_time()
        assert rule.matches(event) is False or pattern.endswith("%")
        return time.process_time() - started

    seconds(1_000)
    short = min(seconds(50_000) for _ in range(3))
    long = min(seconds(200_000) for _ in range(3))

    assert long < 12 * max(short, 0.001)
    assert long < 1.5


@pytest.mark.parametrize(
    ("text", "conditions"),
    [
        ("type = 'order'", ["type"]),
        ("type LIKE 'or%' AND source LIKE '%op' AND subject LIKE '%_b%'", ["type", "source", "?"]),
        ("type IN ('order', 'x') AND EXISTS word AND five > 3", ["type", "type", "word", "?"]),
        ("type = 'x' OR source = '/shop'", ["type", "type", "source"]),
        ("LENGTH(id) = 1", None),
        ("five = 5", None),
        ("word IN ('a')", None),
    ],
)
def test_expression_becomes_conditions_where_they_say_the_same(text: str, conditions: Any) -> None:
    node, _ = parse(text, max_depth=32)

    lowered = lower(node, lambda part: Attribute("?", None))  # type: ignore[arg-type]

    assert (None if lowered is None else list(names_in(lowered))) == conditions


def names_in(expression: Any) -> Any:
    match expression:
        case Attribute(name):
            yield name
        case Every(parts) | Some(parts):
            for part in parts:
                yield from names_in(part)
        case Not(part):
            yield from names_in(part)


def test_every_function_of_the_specification_is_there() -> None:
    specified = {
        "LENGTH",
        "CONCAT",
        "CONCAT_WS",
        "LOWER",
        "UPPER",
        "TRIM",
        "LEFT",
        "RIGHT",
        "SUBSTRING",
        "ABS",
    }

    assert specified | {"INT", "BOOL", "STRING"} <= set(FUNCTIONS)


def test_sql_stands_among_the_other_filters() -> None:
    rule = compile_filters(
        [{"any": [{"sql": "five > 9"}, {"all": [{"not": {"sql": "yes = FALSE"}}, {"sql": "text = 5"}]}]}]
    )

    assert rule.matches(EVENT)
    assert compile_filters([{"not": {"sql": "nothing = 1"}}]).matches(EVENT)


# ── conditions and evaluation say the same ────────────────────────────────────────────────────────────────

NAMES = st.sampled_from(["type", "subject", "exta", "extb"])
TEXTS = st.sampled_from(["'a'", "'ab'", "''", "'5'", "'true'", "'TRUE'"])
LEAVES = st.one_of(
    st.builds("{} {} {}".format, NAMES, st.sampled_from(["=", "!=", "<>"]), TEXTS),
    st.builds(
        "{} {} {}".format, NAMES, st.sampled_from(["=", "<", "!="]), st.sampled_from(["5", "TRUE", "0"])
    ),
    st.builds(
        "{}{} LIKE {}".format,
        NAMES,
        st.sampled_from(["", " NOT"]),
        st.sampled_from(["'a%'", "'%b'", "'_'", "'%'", "'a'"]),
    ),
    st.builds("{}{} IN ({}, {})".format, NAMES, st.sampled_from(["", " NOT"]), TEXTS, TEXTS),
    st.builds("EXISTS {}".format, NAMES),
    st.builds("{} = {}".format, NAMES, NAMES),
    st.builds("LENGTH({}) > 1".format, NAMES),
    NAMES,
    st.sampled_from(["TRUE", "FALSE", "1 / 0 = 0"]),
)
EXPRESSIONS = st.recursive(
    LEAVES,
    lambda below: st.one_of(
        st.builds("({} {} {})".format, below, st.sampled_from(["AND", "OR", "XOR"]), below),
        st.builds("NOT ({})".format, below),
    ),
    max_leaves=6,
)
VALUES = st.sampled_from([None, "a", "ab", "5", 5, 0, True, False, "true", ""])


@settings(max_examples=300, deadline=None)
@given(EXPRESSIONS, st.sampled_from(["a", "ab", "5"]), st.sampled_from([None, "a", "true"]), VALUES, VALUES)
def test_rule_matches_exactly_when_the_value_is_true_without_errors(
    text: str, type_: str, subject: str | None, exta: Any, extb: Any
) -> None:
    extensions = {name: value for name, value in (("exta", exta), ("extb", extb)) if value is not None}
    event = Event(id="1", source="/", type=type_, subject=subject, extensions=extensions)

    value, errors = evaluate_sql(text, event)

    assert compile_sql(text).matches(event) is (value is True and not errors)


@settings(max_examples=300, deadline=None)
@given(
    st.text(max_size=60)
    | st.lists(st.sampled_from(["NOT", "(", ")", "id", "'a'", "5", "AND", "LIKE", "IN", ",", "-", "="])).map(
        " ".join
    )
)
def test_any_text_is_evaluated_or_refused(text: str) -> None:
    with contextlib.suppress(ParseError):
        assert isinstance(evaluate_sql(text, EVENT)[0], str | int)
