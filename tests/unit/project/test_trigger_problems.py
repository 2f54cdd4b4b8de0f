"""Definition files that are wrong: every problem, at its line, in the user's words."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tidemill.errors import DefinitionError, Problem

Problems = Callable[[str], list[str]]

TRIGGER = """
triggers:
  - name: t
    filters: [{exact: {type: x}}]
    dag: process_order
    parameters: {order: $.data}
"""
WEBHOOK = """
sources:
  - name: shop
    webhook:
      event:
        type: com.example.x
        id: $.headers.id
"""
NO_DATA = (
    "9: this example cannot start the DAG: there is no value at $.data; "
    "send it, or give the mapping a default"
)
LONG_NAME = "2: 'name' must begin with a letter or digit, then letters, digits, '.', '_' or '-' (at most 100)"
NO_TOP = "6: $.dta.x: an event has attributes such as $.type and $.subject, and $.data (did you mean $.data?)"
SINK = """
subscriptions:
  - name: s
    filters: []
    webhook:
      url: https://example.com/
"""


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("- a\n", "1: a definition file is a mapping with sources, triggers, subscriptions, derive"),
        ("5\n", "1: a definition file is a mapping with sources, triggers, subscriptions, derive"),
        ("\ntrigers: []\n", "2: unknown field 'trigers'; did you mean 'triggers'?"),
        ("triggers: {name: x}\n", "1: 'triggers' must be a list"),
        ("sources:\n  - shop\n", "2: the entry must be a mapping of names to values"),
        ("a: [\n", "2: not YAML: while parsing a flow node, did not find expected node content"),
        (
            "sources:\n  - name: x\n",
            "2: one of webhook, files, kafka, schedule, postgres, table or plugin is missing",
        ),
        (
            "sources:\n  - name: x\n    files: {path: a}\n    kafka: {topics: [a]}\n",
            (
                "4: files and kafka exclude each other; write one of "
                "webhook, files, kafka, schedule, postgres, table or plugin"
            ),
        ),
        (
            "sources:\n  - name: my shop\n    kafka: {topics: [a]}\n",
            LONG_NAME,
        ),
        (
            "sources:\n  - name: x\n    kafka: {topics: [a/b]}\n",
            "3: item 1 of 'topics' must be a topic name: letters, digits, '.', '_' or '-' (at most 249)",
        ),
        ("sources:\n  - name: x\n    kafka: {topics: []}\n", "3: 'topics' must not be empty"),
        ("sources:\n  - name: x\n    kafka: {}\n", "3: 'topics' is missing"),
        (
            "sources:\n  - name: x\n    kafka: {topics: [a], type: dev.tidemill.x}\n",
            "3: types that begin with dev.tidemill. are Tidemill's own; choose another",
        ),
        (
            "sources:\n  - name: x\n    files: {path: ../other}\n",
            "3: the folder leads out of the project; write it absolute if that is meant",
        ),
        (
            "sources:\n  - name: x\n    files: {path: a/../../b}\n",
            "3: the folder leads out of the project; write it absolute if that is meant",
        ),
        (
            "sources:\n  - name: x\n    files:\n      path: a\n      complete: never\n",
            "5: 'complete' must be 'close', 'close_write', 'rename', 'quiet', 'marker', 'checksum' or 'manifest'",
        ),
        (
            "sources:\n  - name: x\n    files:\n      path: a\n      quiet: 2 s\n",
            "5: 'quiet': must be a duration: 500ms, 2s, 5m, 1h, 7d or a number of seconds",
        ),
        (
            "sources:\n  - name: x\n    files:\n      path: a\n      quiet: 0\n",
            "5: 'quiet': must be a duration greater than zero and of at most ten years",
        ),
        (
            "sources:\n  - name: x\n    files:\n      path: a\n      quiet: true\n",
            "5: 'quiet': must be a duration: 500ms, 2s, 5m, 1h, 7d or a number of seconds",
        ),
        (
            WEBHOOK.replace("type: com.example.x", "subject: x"),
            "5: 'type' is missing: every event has a type",
        ),
        (
            WEBHOOK.replace("com.example.x", "dev.tidemill.run.succeeded.v1"),
            "6: types that begin with dev.tidemill. are Tidemill's own; choose another",
        ),
        (
            WEBHOOK.replace("$.headers.id", "fixed"),
            "7: 'id' must come from the request: a constant makes all events one",
        ),
        (
            WEBHOOK + "        X-Y: a\n",
            "8: 'X-Y' is no attribute name: lower-case letters and digits only",
        ),
        (WEBHOOK + "        data: a\n", "8: 'data' stands beside event, not in it"),
        (WEBHOOK + "        specversion: '1.0'\n", "8: 'specversion' is always 1.0"),
        (
            WEBHOOK + "        subject: [$.body]\n",
            "8: 'subject' must be text, a whole number or true/false: an attribute has no parts",
        ),
        (WEBHOOK + "        source: 5\n", "8: 'source' must be text and not empty"),
        (WEBHOOK + "      data: $.data.x\n", "8: $.data.x: a request has $.body, $.headers and $.query"),
        (
            WEBHOOK + "      secret: whsec_c2VjcmV0\n",
            "8: a secret is never written here; write {env: NAME} or {file: PATH}",
        ),
        (
            WEBHOOK + "      secrets:\n        - whsec_c2VjcmV0\n",
            "9: a secret is never written here; write {env: NAME} or {file: PATH}",
        ),
        (
            WEBHOOK + "      secret: {file: ../shared/key}\n",
            "8: the file leads out of the project; write it absolute if that is meant",
        ),
        (WEBHOOK + "      secret: {}\n", "8: a secret has exactly one of env and file"),
        (WEBHOOK + "      secret: {env: A, file: b}\n", "8: a secret has exactly one of env and file"),
        (
            WEBHOOK + "      secret: {env: A-B}\n",
            "8: 'env' must be the name of an environment variable",
        ),
        (
            WEBHOOK + "      secret: {env: A}\n      secrets: [{env: B}]\n",
            "9: secret and secrets exclude each other; write all of them as secrets",
        ),
        (TRIGGER.replace("name: t\n", "nmae: t\n"), "3: unknown field 'nmae'; did you mean 'name'?"),
        (TRIGGER.replace("    dag: process_order\n", ""), "3: 'dag' is missing"),
        (TRIGGER.replace("dag: process_order", "dag: 5"), "5: 'dag' must be text"),
        (
            TRIGGER.replace("process_order", "proces_order"),
            "5: there is no DAG 'proces_order'; did you mean 'process_order'?",
        ),
        (TRIGGER.replace("process_order", "zzz"), "5: there is no DAG 'zzz'"),
        (TRIGGER + "    paused: 'no'\n", "7: 'paused' must be true or false"),
        (
            TRIGGER.replace("    filters: [{exact: {type: x}}]\n", ""),
            "3: filters, pattern, cesql or cel is missing (filters: [] matches every event)",
        ),
        (
            TRIGGER.replace("order: $.data", "ordr: 1, order: $.data"),
            "6: DAG 'process_order' has no parameter 'ordr'; did you mean 'order'?",
        ),
        (
            TRIGGER.replace("order: $.data", "priority: 1"),
            "6: DAG 'process_order' requires parameter 'order'; give it in parameters",
        ),
        (
            TRIGGER.replace("    parameters: {order: $.data}\n", ""),
            "5: DAG 'process_order' requires parameter 'order'; give it in parameters",
        ),
        (
            TRIGGER.replace("{order: $.data}", "\n      order: $.data\n      priority: high"),
            "8: priority: input should be a valid integer, unable to parse string as an integer",
        ),
        (
            TRIGGER.replace("$.data", "$.dta.x"),
            NO_TOP,
        ),
        (
            TRIGGER + "    examples:\n      match:\n        - {type: y, data: {}}\n",
            '9: this example must match and does not: type is "y", wanted "x"',
        ),
        (
            TRIGGER + "    examples:\n      no_match:\n        - {type: x}\n",
            '9: this example must not match and does: type is "x", wanted "x"',
        ),
        (
            TRIGGER + "    examples:\n      match:\n        - {type: x}\n",
            NO_DATA,
        ),
        (
            TRIGGER + "    examples:\n      match:\n        - {type: x, data: text}\n",
            "9: this example cannot start the DAG: order: input should be an object",
        ),
        (
            TRIGGER + "    examples:\n      no_match:\n        - {source: /y}\n",
            "9: this example is no event: type is missing",
        ),
        (
            TRIGGER + "    examples:\n      match:\n        - x\n",
            "9: item 1 of 'match' must be a mapping of names to values",
        ),
        (
            SINK.replace("filters: []", "filters: [{exat: {type: x}}]"),
            "4: dialect 'exat' is not supported; there are exact, prefix, suffix, all, any, not, sql",
        ),
        (
            SINK.replace("filters: []", "pattern:\n      data:\n        amount: 3"),
            "6: must be a non-empty list of alternatives or an object, not 3",
        ),
        (SINK.replace("filters: []", "cesql: type = "), "4: column 7: a value was expected, not the end"),
        (SINK.replace("filters: []", "cesql: LENGTH()"), "4: column 1: LENGTH does not take 0 arguments"),
        (SINK.replace("filters: []", "cel: nosuch(1)"), "4: there is no function nosuch"),
        (SINK.replace("filters: []", "cel: 5"), "4: 'cel' must be text"),
        (SINK.replace("https://example.com/", "ftp://x"), "6: 'url' must be an absolute http or https URL"),
        (SINK.replace("https://example.com/", "/hook"), "6: 'url' must be an absolute http or https URL"),
        (SINK.replace("https://example.com/", "http://"), "6: 'url' must be an absolute http or https URL"),
        (SINK.replace("https://example.com/", "http://a:x/"), "6: 'url' is no URL"),
        (SINK.replace("https://example.com/", "http://[x/"), "6: 'url' is no URL"),
        (
            SINK.replace("https://example.com/", '"http://a/ b"'),
            "6: 'url' holds a space or a control character",
        ),
        (
            SINK.replace("https://example.com/", "https://user:pw@example.com/"),
            "6: 'url' holds a user or password; secrets are never written here",
        ),
        (
            SINK + "      headers:\n        Content-Type: x\n",
            "8: header 'Content-Type' is set by every delivery; remove it",
        ),
        (SINK + "      headers: {a b: x}\n", "7: 'a b' is no header name"),
        (
            SINK + '      headers: {a: "x\\r\\nb: c"}\n',
            "7: the value of header 'a' holds characters that cannot be sent",
        ),
        (
            SINK + "      timeout: 3 days\n",
            "7: 'timeout': must be a duration: 500ms, 2s, 5m, 1h, 7d or a number of seconds",
        ),
        (SINK + "    max_attempts: 0\n", "7: 'max_attempts' must be at least 1"),
        (SINK + "    max_attempts: 2.5\n", "7: 'max_attempts' must be a whole number"),
        (
            SINK + "    kafka: {topic: t}\n",
            "7: webhook and kafka exclude each other; write one of webhook or kafka",
        ),
    ],
)
def test_one_problem_is_reported_once_at_its_line(problems_of: Problems, text: str, problem: str) -> None:
    found = problems_of(text)

    if "nmae" in text:
        assert found == ["3: 'name' is missing", problem]
    else:
        assert found == [problem]


def test_problems_carry_the_column(folder: Any) -> None:
    folder.write("triggers/t.yaml", "sources:\n  - name: x\n    kafka: {topics: [ok, a/b]}\n")

    with pytest.raises(DefinitionError) as caught:
        folder.load()

    (problem,) = caught.value.problems
    assert (problem.file, problem.line, problem.column) == ("triggers/t.yaml", 3, 26)


def test_problems_of_all_entries_and_files_are_reported_at_once(folder: Any) -> None:
    folder.write("workflows/broken.py", "def nothing(:\n")
    folder.write("schemas/bad.json", '{"$id": "urn:x",\n "type": "strin"}')
    folder.write(
        "triggers/a.yaml", "sources: [{name: x}]\ntriggers:\n  - {name: t, filters: [], dag: nope}\n"
    )
    folder.write("triggers/b.yaml", "a: b: c\n")
    folder.write("triggers/c.yaml", SINK.replace("https", "ftp") + "      mode: both\n    max_attempts: 0\n")

    found = folder.problems()

    places = [problem.split(": ")[0] for problem in found]
    assert places == [
        "schemas/bad.json:2",
        "triggers/a.yaml:1",
        "triggers/a.yaml:3",
        "triggers/b.yaml:1",
        "triggers/c.yaml:6",
        "triggers/c.yaml:7",
        "triggers/c.yaml:8",
        "workflows/broken.py:1",
    ]


def test_problems_in_one_entry_do_not_hide_each_other(problems_of: Problems) -> None:
    found = problems_of(
        """
        triggers:
          - name: t t
            filters: [{exact: {type: x}}, {nope: 1}]
            pattern: {data: {amount: 3}}
            dag: nope
            parameters: {order: $.data., b: "{$.data"}
            paused: 1
            extra: 1
            examples: {match: [{id: 5}]}
        """
    )

    assert [problem.split(":")[0] for problem in found] == ["3", "4", "5", "6", "7", "7", "8", "9", "10"]


def test_duplicate_names_name_both_places_over_all_files(folder: Any) -> None:
    folder.write("triggers/a.yaml", "triggers:\n  - {name: same, filters: [], dag: archive}\n")
    folder.write(
        "triggers/b.yaml",
        "subscriptions:\n  - {name: same, filters: [], kafka: {topic: t}}\n"
        "triggers:\n  - filters: []\n    dag: archive\n    name: same\n",
    )

    assert folder.problems() == [
        "triggers/b.yaml:6: trigger 'same' is defined twice: here and at triggers/a.yaml:2"
    ]


def test_dag_that_its_own_broken_file_defines_is_not_reported_a_second_time(folder: Any) -> None:
    folder.write("workflows/broken.py", "from tidemill import dag\n\n@dag\ndef broken_one(:\n    pass\n")
    folder.write(
        "triggers/t.yaml",
        """
        triggers:
          - {name: a, filters: [], dag: broken_one}
          - {name: b, filters: [], dag: mistyped}
        """,
    )

    found = folder.problems()

    assert [problem.split(": ")[0] for problem in found] == ["triggers/t.yaml:4", "workflows/broken.py:4"]


def test_secret_written_in_clear_is_never_repeated(problems_of: Problems) -> None:
    found = problems_of(
        WEBHOOK + "      secret: canary-1\n      secrets: [canary-2, {value: canary-3}, {env: canary-4}]\n"
    )

    assert len(found) >= 4
    assert "canary" not in "\n".join(found)


def test_file_that_cannot_be_read_is_a_problem_of_its_own(folder: Any) -> None:
    folder.write("triggers/big.yaml", "# " + "x" * (1 << 20))
    (folder.root / "triggers/latin.yaml").write_bytes(b"a: caf\xe9\n")

    assert folder.problems() == [
        "triggers/big.yaml: the file is too large; at most 1048576 bytes are read",
        "triggers/latin.yaml:1: the file is not UTF-8 text",
    ]


def test_pipe_among_the_definitions_is_not_opened(folder: Any) -> None:
    folder.write("triggers/a.yaml", "")
    os.mkfifo(folder.root / "triggers/pipe.yaml")

    assert stat.S_ISFIFO((folder.root / "triggers/pipe.yaml").stat().st_mode)
    assert folder.load().triggers == ()


_WORDS = st.sampled_from(
    [
        *(
            "sources",
            "triggers",
            "subscriptions",
            "name",
            "webhook",
            "files",
            "kafka",
            "event",
            "type",
            "source",
        ),
        *("id", "data", "secret", "secrets", "env", "file", "path", "include", "complete", "quiet", "topics"),
        *("filters", "pattern", "exact", "prefix", "all", "any", "not", "dag", "parameters", "examples"),
        *("match", "no_match", "url", "headers", "timeout", "max_attempts", "numeric", "$or", "default"),
        *("$.data.x", "{$.body.y", "$", "process_order", "5m", "x"),
    ]
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2**40) | st.floats(-2, 2) | _WORDS | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(_WORDS | st.text(max_size=4), inner, max_size=6)
    ),
    max_leaves=20,
)
_KINDS = ("sources", "triggers", "subscriptions")
_FILE = st.fixed_dictionaries({}, optional=dict.fromkeys(_KINDS, st.lists(_JSON) | _JSON)) | _JSON
_ENTRY = st.fixed_dictionaries(
    {"name": _WORDS},
    optional=dict.fromkeys(
        ("webhook", "files", "kafka", "filters", "pattern", "dag", "parameters", "examples", "ordered"), _JSON
    ),
)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(_FILE | st.fixed_dictionaries(dict.fromkeys(_KINDS, st.lists(_ENTRY, max_size=2))))
def test_any_definition_loads_or_is_refused_with_places(folder: Any, value: Any) -> None:
    (folder.root / "triggers").mkdir(exist_ok=True)
    (folder.root / "triggers/any.yaml").write_bytes(orjson.dumps(value))

    try:
        folder.load()
        problems: tuple[Problem, ...] = ()
    except DefinitionError as error:
        problems = error.problems

    assert all(problem.line >= 1 and problem.message for problem in problems)
