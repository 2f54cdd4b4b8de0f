"""Expressions in templates: what they see, what they give, and what becomes of those that fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tidemill.events.event import Event
from tidemill.project.expressions import ExpressionFailed
from tidemill.project.mapping import (
    MappingFailed,
    MappingProblem,
    answer_lookup,
    compile_mapping,
    compile_template,
    enriched_lookup,
    event_lookup,
    request_lookup,
)

EVENT = Event(
    id="1",
    source="/shop",
    type="order.placed",
    subject="A-1",
    data={"cents": 900, "rate": 0.5, "lines": [{"n": 2}, {"n": 3}], "name": "Ada"},
    extensions={"region": "eu"},
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("data.cents * 2", 1800),
        ("double(data.cents) * data.rate", 450.0),
        ("event.data.cents > 500 ? 'big' : 'small'", "big"),
        ("data.lines.map(line, line.n)", [2, 3]),
        ("data.lines.exists(line, line.n > 2)", True),
        ("{'who': data.name, 'where': region}", {"who": "Ada", "where": "eu"}),
        ("has(event.data.missing) ? event.data.missing : null", None),
        ("subject + '/' + type", "A-1/order.placed"),
        ("size(data.name)", 3),
        ("1 + 1", 2),
    ],
)
def test_expression_gives_its_value_with_its_type(text: str, value: Any) -> None:
    found = compile_template({"cel": text}).evaluate(event_lookup(EVENT))

    assert found == value
    assert type(found) is type(value)


def test_expression_stands_among_other_templates() -> None:
    written = {"a": {"b": [{"cel": "data.cents / 100"}, "$.data.name"]}, "c": {"cel": "data", "other": 1}}

    assert compile_mapping(written).evaluate(event_lookup(EVENT)) == {
        "a": {"b": [9, "Ada"]},
        "c": {"cel": "data", "other": 1},
    }


def test_expression_sees_requests_answers_and_enrichments() -> None:
    request = request_lookup({"n": 4}, {"X-Shop": "north"}, {"q": "1"})
    answer = answer_lookup(EVENT, 7, duplicate=False)
    enriched = enriched_lookup(EVENT, {"who": {"tier": "gold"}})

    assert compile_template({"cel": "body.n + int(query.q)"}, root="request").evaluate(request) == 5
    assert compile_template({"cel": "headers['x-shop']"}, root="request").evaluate(request) == "north"
    assert compile_template({"cel": "position * 2"}, root="answer").evaluate(answer) == 14
    assert compile_template({"cel": "enriched.who.tier"}, enriched=["who"]).evaluate(enriched) == "gold"


@pytest.mark.parametrize(
    "text", ["data.missing", "data.cents / 0", "data.name * 2", "timestamp('2024-01-01T00:00:00Z')"]
)
def test_expression_without_a_value_fails_as_a_path_does_or_gives_its_default(text: str) -> None:
    with pytest.raises(ExpressionFailed) as caught:
        compile_template({"cel": text}).evaluate(event_lookup(EVENT))

    assert isinstance(caught.value, MappingFailed)
    assert text in str(caught.value)
    kept = compile_template({"cel": text, "default": "$.data.name"})
    assert kept.evaluate(event_lookup(EVENT)) == "Ada"


@pytest.mark.parametrize(
    ("text", "root", "problem"),
    [
        ("data.", "event", "line 1"),
        ("", "event", "a CEL expression is a non-empty string"),
        ("nothing(data)", "event", "there is no function nothing"),
        ("data.x", "request", "there is no 'data' here, only body, headers, query"),
        ("data.x", "answer", "there is no 'data' here, only event, position, duplicate, runs"),
        ("enriched.x", "event", "there is no enrichment beside it"),
    ],
)
def test_expression_that_is_none_is_a_problem_at_its_place(text: str, root: Any, problem: str) -> None:
    with pytest.raises(MappingProblem) as caught:
        compile_template({"a": {"cel": text}}, root=root)

    assert caught.value.pointer == "/a/cel"
    assert problem in caught.value.message


def test_expression_that_would_go_round_too_often_fails() -> None:
    wide = Event(id="1", source="/s", type="t", data={"n": list(range(200))})
    text = "data.n.map(a, data.n.map(b, a * b))"

    with pytest.raises(ExpressionFailed, match="round more than"):
        compile_template({"cel": text}).evaluate(event_lookup(wide))


def test_expression_may_be_an_attribute_and_a_parameter(folder: Any) -> None:
    folder.write(
        "triggers/t.yaml",
        """
        sources:
          - name: hook
            webhook: {event: {type: {cel: "'order.' + body.kind"}}}
        triggers:
          - name: t
            dag: process_order
            filters: []
            parameters: {order: $.data, priority: {cel: "data.cents > 500 ? 2 : 1"}}
            examples: {match: [{type: a, data: {cents: 900}}]}
        """,
    )
    project = folder.load()

    assert project.triggers[0].parameters.evaluate(event_lookup(EVENT))["priority"] == 2
    root = request_lookup({"kind": "placed"}, {}, {})
    assert project.sources[0].attributes["type"].evaluate(root) == "order.placed"


def test_problem_of_an_expression_is_told_at_its_line(problems_of: Callable[[str], list[str]]) -> None:
    head = "triggers:\n  - name: t\n    dag: process_order\n    filters: []\n    parameters:\n"

    (found,) = problems_of(head + "      order:\n        cel: data.\n")

    assert found.startswith("7: line 1, column")
