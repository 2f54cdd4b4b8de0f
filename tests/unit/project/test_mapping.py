"""Templates: paths, text with paths, defaults, constants; on events and on requests."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.events import json_format
from tidemill.events.event import Event
from tidemill.project.mapping import (
    MappingFailed,
    MappingProblem,
    compile_mapping,
    compile_template,
    event_lookup,
    request_lookup,
)

EVENT = Event(
    id="1",
    source="/shop",
    type="com.example.order.placed",
    subject="c-7",
    data={"amount": 12.5, "none": None, "odd key": "o", 'a"b': 1, "items": [{"sku": "x"}, {"sku": "y"}]},
    extensions={"tenant": "t1", "hops": 3},
)

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def evaluate(template: Any, event: Event = EVENT) -> Any:
    return compile_template(template).evaluate(event_lookup(event))


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("$.data.amount", 12.5),
        ("$.data.none", None),
        ("$.subject", "c-7"),
        ("$.specversion", "1.0"),
        ("$.tenant", "t1"),
        ("$.hops", 3),
        ("$.data.items[0].sku", "x"),
        ("$.data.items[-1].sku", "y"),
        ("$.data.items[1]", {"sku": "y"}),
        ('$.data["odd key"]', "o"),
        ("$.data['odd key']", "o"),
        ('$["data"]["a\\"b"]', 1),
        ("$$.data.amount", "$.data.amount"),
        ("a $$ b", "a $ b"),
        ("costs $5", "costs $5"),
        ("{$$.data}", "{$.data}"),
        ("order {$.data.amount} of {$.subject}", "order 12.5 of c-7"),
        ("{$.data.items}", '[{"sku":"x"},{"sku":"y"}]'),
        ("{$.data.none}", "null"),
        ("{{$.subject}}", "{c-7}"),
        ("plain", "plain"),
        ("", ""),
        (5, 5),
        (None, None),
        (True, True),
        (["$.subject", {"x": "$.data.amount", "y": 1}], ["c-7", {"x": 12.5, "y": 1}]),
        ({"path": "$.data.missing", "default": 5}, 5),
        ({"path": "$.data.missing", "default": "$.subject"}, "c-7"),
        ({"path": "$.data.none", "default": 5}, None),
        ({"path": "$.data.amount", "default": 5}, 12.5),
        ({"path": "$.data.amount"}, {"path": 12.5}),
        ({"path": "plain", "default": 5}, {"path": "plain", "default": 5}),
    ],
)
def test_template_gives_the_value_it_describes(template: Any, value: Any) -> None:
    assert evaluate(template) == value


def test_template_of_the_whole_event_is_its_json_form() -> None:
    assert evaluate("$") == json_format.to_json(EVENT)


def test_template_gives_binary_data_as_base64() -> None:
    event = Event(id="1", source="/s", type="t", data=b"\x00\xff", datacontenttype="image/png")

    assert evaluate("$.data_base64", event) == "AP8="
    assert evaluate("$", event) == json_format.to_json(event)
    with pytest.raises(MappingFailed):
        evaluate("$.data", event)


@pytest.mark.parametrize(
    "path",
    [
        "$.data.missing",
        "$.data.amount.deeper",
        "$.data.amount[0]",
        "$.data.items[2]",
        "$.data.items[-3]",
        "$.data.items.sku",
        "$.subject2",
        "$.dataschema",
        '$.data["odd key"][0]',
    ],
)
def test_template_without_default_fails_with_the_missing_path(path: str) -> None:
    with pytest.raises(MappingFailed) as alone:
        evaluate(path)
    with pytest.raises(MappingFailed) as inside:
        evaluate({"text": [f"a {{{path}}}"]})

    assert (alone.value.path, inside.value.path) == (path, path)


def test_mapping_evaluates_every_template_by_name() -> None:
    mapping = compile_mapping({"order": "$.data", "who": "{$.subject}!", "n": 3})

    assert mapping.evaluate(event_lookup(EVENT)) == {"order": EVENT.data, "who": "c-7!", "n": 3}
    assert mapping.templates["n"].is_constant
    assert mapping.templates["who"].paths == ("$.subject",)
    assert mapping.written == {"order": "$.data", "who": "{$.subject}!", "n": 3}


def test_mapping_reports_every_problem_with_its_pointer() -> None:
    with pytest.raises(MappingProblem) as caught:
        compile_mapping({"a/b": ["$.data.x y"], "ok": "$.id", "c": {"path": "$.dta.x", "default": "$5"}})

    assert [pointer for pointer, _ in caught.value.problems] == ["/a~1b/0", "/c/default", "/c/path"]


@pytest.mark.parametrize(
    "bad",
    [
        *("$5", "$.", "$.data.", "$.data[x]", "$.data[01]", "$.data[*]", "$..x", "$.dta.x", "$.Type", "$[0]"),
        *("a {$.data.x", "{$.data x}", '$.data["\\x"]', "$" + ".a" * 65),
    ],
)
def test_template_that_is_no_path_is_refused(bad: str) -> None:
    with pytest.raises(MappingProblem):
        compile_template(bad)


def test_template_reads_a_request_with_headers_in_any_case() -> None:
    request = request_lookup({"id": 7}, {"X-GitHub-Event": "push"}, {"debug": "1"})
    template = compile_template(
        {
            "a": "$.body.id",
            "b": '$.headers["x-github-event"]',
            "c": '$.headers["X-GITHUB-event"]',
            "d": "$.query.debug",
            "e": "$",
        },
        root="request",
    )

    value = template.evaluate(request)

    assert (value["a"], value["b"], value["c"], value["d"]) == (7, "push", "push", "1")
    assert value["e"] == {"body": {"id": 7}, "headers": {"x-github-event": "push"}, "query": {"debug": "1"}}


def test_template_of_a_request_fails_where_a_header_is_missing() -> None:
    template = compile_template('$.headers["X-None"]', root="request")

    with pytest.raises(MappingFailed):
        template.evaluate(request_lookup(None, {}, {}))


def test_template_of_a_request_refuses_the_paths_of_events() -> None:
    with pytest.raises(MappingProblem, match=r"\$\.data\.x: a request has"):
        compile_template("$.data.x", root="request")


@given(JSON_VALUES)
def test_template_is_a_value_or_a_problem_and_never_anything_else(value: Any) -> None:
    try:
        result = evaluate(value)
    except (MappingProblem, MappingFailed):
        result = value

    assert "$" in repr(value) or result == value


@given(st.text(alphabet="${}.[]\"'\\ad0- ", max_size=24))
def test_template_text_made_of_path_characters_never_crashes(text: str) -> None:
    try:
        message = f"a value: {evaluate(text)}"
    except (MappingProblem, MappingFailed) as error:
        message = str(error)

    assert message


@given(st.text(max_size=20))
def test_template_escaped_text_is_the_text(text: str) -> None:
    assert evaluate(text.replace("$", "$$")) == text
