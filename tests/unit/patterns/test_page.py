"""The page on patterns: every example is run, and every operator has one."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tidemill.patterns import conjunction, filters, match_line, operators, rule

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
        operators.MAX_STARS,
        conjunction.MAX_COMBINATIONS,
    ]
