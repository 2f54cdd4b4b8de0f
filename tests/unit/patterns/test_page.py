"""The page on patterns: every example is run, and every operator has one."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tidemill.patterns import arrays, cel, filters, match_line, operators, pattern, rule
from tidemill.patterns.cesql import functions

PAGE = (Path(__file__).parents[3] / "docs" / "patterns.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```json (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ANSWERS: dict[str, Any] = {"match": [True], "no-match": [False], "refused": ["error"]}


def examples() -> list[Any]:
    return [
        pytest.param(found[1], found[2], id=f"line-{PAGE.count(chr(10), 0, found.start()) + 1}")
        for found in BLOCK.finditer(PAGE)
    ]


@pytest.mark.parametrize(("kind", "text"), examples())
def test_example_answers_as_the_page_says(kind: str, text: str) -> None:
    answer = match_line(text)

    assert (["error"] if "error" in answer else list(answer.values())) == ANSWERS[kind]


def test_every_example_says_what_it_shows() -> None:
    assert PAGE.count("```json") == len(examples())


@pytest.mark.parametrize("name", [*operators.OPERATORS, "$or"])
def test_every_operator_has_an_example(name: str) -> None:
    assert any(f'"{name}"' in text for _, text in BLOCK.findall(PAGE))
    assert f"`{name}`" in PAGE or f'{{"{name}"' in PAGE


def test_every_dialect_has_an_example() -> None:
    shown = json.dumps([json.loads(text).get("filters") for _, text in BLOCK.findall(PAGE)])

    assert all(f'"{dialect}"' in shown for dialect in filters.DIALECTS)


def test_limits_on_the_page_are_those_of_the_code() -> None:
    rows = dict(re.findall(r"^\| ([^|]+?) \| ([\d,]+) \| refused \|$", PAGE, re.MULTILINE))

    assert [int(value.replace(",", "")) for value in rows.values()] == [
        rule.MAX_DEPTH,
        rule.MAX_LEAVES,
        rule.MAX_EXPRESSION,
        operators.MAX_STARS,
        pattern.MAX_COMBINATIONS,
    ]


@pytest.mark.parametrize("name", sorted(functions.FUNCTIONS))
def test_every_cesql_function_is_on_the_page(name: str) -> None:
    assert f"`{name}(" in PAGE


@pytest.mark.parametrize("name", sorted({*cel.FUNCTIONS, *cel.MACROS}))
def test_every_cel_function_is_on_the_page(name: str) -> None:
    assert f"`{name}`" in PAGE or f"`optional.{name}`" in PAGE


def test_page_states_the_limits_of_evaluation() -> None:
    assert f"Macros go round at most {cel.MAX_ROUNDS:,} times" in PAGE
    assert f"| {arrays.MAX_CHOICES:,}, and ten for each" in PAGE


@pytest.mark.parametrize("dialect", ["filters", "pattern", "cesql", "cel"])
@pytest.mark.parametrize("kind", sorted(ANSWERS))
def test_every_dialect_has_an_example_of_every_kind(dialect: str, kind: str) -> None:
    assert any(kind == found and f'"{dialect}"' in text for found, text in BLOCK.findall(PAGE))
